//! The rows of one seed, measured from its records' predictions.

use metrics::{Dee, Probs, Scores, dee, fit_temperature, mean_pairwise_kl, score};
use rayon::prelude::*;

use crate::record::{PREDICTIONS, Predictions, Record, Split};
use crate::{Column, Error, Result, rows};

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
    /// Whether the DEE is at or beyond DE-Nmax.
    pub(super) at_least: bool,
}

/// Measures every row that `records`, all of one seed, give.
pub(super) fn seed(records: &[Record]) -> Result<Seed> {
    let predictions = read(records)?;
    let of = |row: &str| predictions.iter().find(|(record, _)| record.info().row == row);
    let teachers: Vec<_> = (1..).map_while(|n| of(&rows::teacher(n))).collect();
    let students: Vec<_> =
        predictions.iter().filter(|(record, _)| rows::teacher_index(&record.info().row).is_none()).collect();

    // Member-major logits of teachers 1..N end to end: their beginning is the ensemble DE-n.
    let val: Vec<f32> = teachers.iter().flat_map(|(_, p)| p.val.logits.iter().copied()).collect();
    let test: Vec<f32> = teachers.iter().flat_map(|(_, p)| p.test.logits.iter().copied()).collect();
    let ensembles = teachers.iter().zip(1..).map(|((_, one), n)| Candidate {
        row: rows::ensemble(n),
        val: Members { logits: &val[..n * one.val.logits.len()], m: n, ..Members::from(&one.val) },
        test: Members { logits: &test[..n * one.test.logits.len()], m: n, ..Members::from(&one.test) },
    });
    let students = students.iter().map(|(record, p)| Candidate {
        row: record.info().row.clone(),
        val: Members::from(&p.val),
        test: Members::from(&p.test),
    });
    let members = students.clone().map(|student| student.test.m).max().unwrap_or(0);
    let candidates: Vec<Candidate<'_>> = ensembles.chain(students).collect();

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
    let curve: Vec<f64> = scores.iter().take(teachers.len()).map(|(scores, _)| scores.cnll).collect();
    let rows = candidates
        .iter()
        .zip(&scores)
        .map(|(candidate, (scores, kld))| {
            let dee = match curve.is_empty() {
                true => None,
                false => Some(
                    dee(&curve, scores.cnll)
                        .map_err(|source| Error::Score { what: name(&candidate.row), source })?,
                ),
            };
            Ok(Measured::new(candidate.row.clone(), scores, dee, *kld))
        })
        .collect::<Result<_>>()?;
    Ok(Seed { teachers: teachers.len(), members, rows })
}

impl Measured {
    fn new(row: String, scores: &Scores, dee: Option<Dee>, kld: Option<f64>) -> Self {
        let values = Column::ALL.map(|column| match column {
            Column::Acc => Some(scores.acc),
            Column::Nll => Some(scores.nll),
            Column::Bs => Some(scores.bs),
            Column::Ece => Some(scores.ece),
            Column::Cnll => Some(scores.cnll),
            Column::Cbs => Some(scores.cbs),
            Column::Cece => Some(scores.cece),
            Column::Dee => dee.map(|dee| dee.value),
            Column::Kld => kld,
        });
        Self { row, values, at_least: dee.is_some_and(|dee| dee.at_least) }
    }
}

/// Reads the predictions of every record and holds them to one split of one data set, and teachers to one member.
fn read(records: &[Record]) -> Result<Vec<(&Record, Predictions)>> {
    let predictions = records
        .par_iter()
        .map(|record| Ok((record, record.predictions()?)))
        .collect::<Result<Vec<(&Record, Predictions)>>>()?;
    for (record, own) in &predictions {
        let wrong = |key, expected, found| Error::Mismatch {
            path: record.dir().join(PREDICTIONS),
            key,
            expected,
            found,
            advice: "a table compares runs of one seed on the same examples: run this record again",
        };
        if rows::teacher_index(&record.info().row).is_some() && own.test.m != 1 {
            return Err(wrong("members of a teacher", "1".into(), own.test.m.to_string()));
        }
        let Some((first, expected)) = predictions.first() else { continue };
        if own.test.k != expected.test.k {
            return Err(wrong("classes", expected.test.k.to_string(), own.test.k.to_string()));
        }
        for (key, own, expected) in [
            ("val.labels", &own.val.labels, &expected.val.labels),
            ("test.labels", &own.test.labels, &expected.test.labels),
        ] {
            if own != expected {
                let expected = format!("the labels of {}", first.dir().display());
                return Err(wrong(key, expected, "other labels".into()));
            }
        }
    }
    Ok(predictions)
}

/// A row to be scored.
struct Candidate<'a> {
    row: String,
    val: Members<'a>,
    test: Members<'a>,
}

/// The logits (M, N, K) of one split with its labels (N).
#[derive(Clone, Copy)]
struct Members<'a> {
    logits: &'a [f32],
    labels: &'a [u32],
    m: usize,
    n: usize,
    k: usize,
}

impl<'a> From<&'a Split> for Members<'a> {
    fn from(split: &'a Split) -> Self {
        Self { logits: &split.logits, labels: &split.labels, m: split.m, n: split.n, k: split.k }
    }
}

impl Members<'_> {
    fn probs(&self) -> metrics::Result<Probs> {
        Probs::mean_of_members(self.logits, self.m, self.n, self.k)
    }
}

impl Candidate<'_> {
    /// Scores on test with the temperature of validation; diversity where there are members to compare.
    fn scores(&self) -> metrics::Result<(Scores, Option<f64>)> {
        let temperature = fit_temperature(&self.val.probs()?, self.val.labels)?;
        let Members { logits, labels, m, n, k } = self.test;
        let scores = score(&self.test.probs()?, labels, temperature)?;
        let kld = if m > 1 { Some(mean_pairwise_kl(logits, m, n, k)?) } else { None };
        Ok((scores, kld))
    }
}
