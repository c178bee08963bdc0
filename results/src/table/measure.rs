//! The rows of one seed, measured from its records' predictions.

use metrics::{Dee, Scores, dee, fit_temperature, mean_pairwise_disagreement, mean_pairwise_kl, score};
use rayon::prelude::*;

use super::model::Bound;
use super::predicted::{Candidate, Members, Predicted};
use crate::record::Record;
use crate::{Column, Error, Result};

/// What a seed's records give.
pub(super) struct Seed {
    /// Teachers from `teacher-1` without a gap.
    pub(super) teachers: usize,
    /// The most members that one of its students has.
    pub(super) members: usize,
    /// Its rows: `de-1` .. `de-<teachers>`, then the students.
    pub(super) rows: Vec<Measured>,
}

/// A row on one seed.
pub(super) struct Measured {
    pub(super) row: String,
    /// One value a column.
    pub(super) values: [Option<f64>; Column::ALL.len()],
    /// Where the DEE is at or beyond an end of the curve.
    pub(super) bound: Option<Bound>,
}

/// Measures every row that `records`, all of one seed, give.
pub(super) fn seed(records: &[Record]) -> Result<Seed> {
    let predicted = Predicted::read(records)?;
    let candidates = predicted.candidates();
    let students = candidates.iter().skip(predicted.teachers());
    let members = students.map(|student| student.test.m).max().unwrap_or(0);

    let name = |row: &str| match records.first() {
        Some(record) => format!("{row} of seed {}", record.info().seed),
        None => row.to_owned(),
    };
    let scores = candidates
        .par_iter()
        .map(|candidate| {
            candidate.scores().map_err(|source| Error::Score { what: name(&candidate.row), source })
        })
        .collect::<Result<Vec<_>>>()?;
    let curve: Vec<f64> = scores.iter().take(predicted.teachers()).map(|(scores, _)| scores.cnll).collect();
    let rows = candidates
        .iter()
        .zip(&scores)
        .map(|(candidate, (scores, diversity))| {
            let dee = match curve.is_empty() {
                true => None,
                false => Some(
                    dee(&curve, scores.cnll)
                        .map_err(|source| Error::Score { what: name(&candidate.row), source })?,
                ),
            };
            Ok(Measured::new(candidate.row.clone(), scores, dee, *diversity))
        })
        .collect::<Result<_>>()?;
    Ok(Seed { teachers: predicted.teachers(), members, rows })
}

/// How much members differ on test images.
#[derive(Clone, Copy)]
struct Diversity {
    /// Mean pairwise KL, nats.
    kld: f64,
    /// Mean pairwise disagreement, a fraction.
    disagreement: f64,
}

impl Measured {
    fn new(row: String, scores: &Scores, dee: Option<Dee>, diversity: Option<Diversity>) -> Self {
        let values = Column::ALL.map(|column| match column {
            Column::Acc => Some(scores.acc),
            Column::Nll => Some(scores.nll),
            Column::Bs => Some(scores.bs),
            Column::Ece => Some(scores.ece),
            Column::Cnll => Some(scores.cnll),
            Column::Cbs => Some(scores.cbs),
            Column::Cece => Some(scores.cece),
            Column::Dee => dee.map(|dee| dee.value),
            Column::Kld => diversity.map(|diversity| diversity.kld),
            Column::Dis => diversity.map(|diversity| diversity.disagreement),
        });
        let bound = dee.and_then(|dee| match (dee.at_least, dee.at_most) {
            (true, _) => Some(Bound::AtLeast),
            (_, true) => Some(Bound::AtMost),
            _ => None,
        });
        Self { row, values, bound }
    }
}

impl Candidate<'_> {
    /// Scores on test with the temperature of validation; diversity where there are members to compare.
    fn scores(&self) -> metrics::Result<(Scores, Option<Diversity>)> {
        let temperature = fit_temperature(&self.val.probs()?, self.val.labels)?;
        let Members { logits, labels, m, n, k } = self.test;
        let scores = score(&self.test.probs()?, labels, temperature)?;
        if m < 2 {
            return Ok((scores, None));
        }
        let kld = mean_pairwise_kl(logits, m, n, k)?;
        let disagreement = mean_pairwise_disagreement(logits, m, n, k)?;
        Ok((scores, Some(Diversity { kld, disagreement })))
    }
}
