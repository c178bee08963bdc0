//! What a row's test predictions say, example by example.

use metrics::{fit_temperature, pairwise_kl};
use rayon::prelude::*;

use crate::record::{Predictions, Record, Split};
use crate::{Error, Result, rows};

/// A row on the test examples of one seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    /// `teacher-<n>`, `de-<M>` or a student.
    pub row: String,
    /// The seed.
    pub seed: u64,
    /// Networks or subnetworks whose probabilities are averaged.
    pub members: usize,
    /// The largest averaged probability of each example.
    pub confidence: Vec<f64>,
    /// The same after temperature scaling.
    pub calibrated: Vec<f64>,
    /// Whether its class is the true one.
    pub hits: Vec<bool>,
    /// Mean pairwise KL divergence of the members, nats; empty for one network.
    pub kl: Vec<f64>,
}

/// The students and the first `members` teachers among `records`, all of one seed, and these teachers' ensemble.
///
/// # Errors
/// Where predictions cannot be read or scored.
pub(super) fn of_seed(records: &[Record], members: usize) -> Result<Vec<Tested>> {
    let wanted = |record: &&Record| rows::teacher_index(&record.info().row).is_none_or(|n| n <= members);
    let read = |record: &Record| {
        let predictions = record.predictions()?;
        let (row, seed) = (record.info().row.clone(), record.info().seed);
        let tested = tested(row, seed, &predictions)?;
        let is_teacher = rows::teacher_index(&record.info().row).is_some();
        Ok((tested, is_teacher.then_some(predictions)))
    };
    let found: Vec<(Tested, Option<Predictions>)> =
        records.iter().filter(wanted).collect::<Vec<_>>().into_par_iter().map(read).collect::<Result<_>>()?;
    let teachers: Vec<&Predictions> = found.iter().filter_map(|(_, teacher)| teacher.as_ref()).collect();
    let ensemble = match (teachers.len(), found.first()) {
        (count, Some((first, _))) if count > 1 => {
            let all = Predictions {
                val: together(teachers.iter().map(|teacher| &teacher.val)),
                test: together(teachers.iter().map(|teacher| &teacher.test)),
            };
            Some(tested(rows::ensemble(count), first.seed, &all)?)
        }
        _ => None,
    };
    Ok(found.into_iter().map(|(tested, _)| tested).chain(ensemble).collect())
}

/// The splits of several plain networks as one of an ensemble.
fn together<'a>(splits: impl Iterator<Item = &'a Split> + Clone) -> Split {
    let mut all = Split { logits: Vec::new(), labels: Vec::new(), m: 0, n: 0, k: 0 };
    for split in splits {
        all.logits.extend_from_slice(&split.logits);
        all.m += split.m;
        (all.n, all.k) = (split.n, split.k);
        if all.labels.is_empty() {
            all.labels.clone_from(&split.labels);
        }
    }
    all
}

fn tested(row: String, seed: u64, predictions: &Predictions) -> Result<Tested> {
    let score = || -> metrics::Result<Tested> {
        let Predictions { val, test } = predictions;
        let temperature = fit_temperature(&val.probs()?, &val.labels)?;
        let probs = test.probs()?;
        let hits = probs.top().zip(&test.labels).map(|((class, _), label)| class == *label as usize);
        Ok(Tested {
            row: row.clone(),
            seed,
            members: test.m,
            confidence: probs.confidences(),
            calibrated: probs.scaled(temperature)?.confidences(),
            hits: hits.collect(),
            kl: if test.m > 1 { pairwise_kl(&test.logits, test.m, test.n, test.k)? } else { Vec::new() },
        })
    };
    score().map_err(|source| Error::Score { what: format!("{row} of seed {seed}"), source })
}
