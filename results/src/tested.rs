//! What a row's test predictions say, example by example.

use metrics::{fit_temperature, pairwise_kl};
use rayon::prelude::*;

use crate::table::{Candidate, Predicted};
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

/// The first `members` teachers of a seed, their ensemble, and the students.
///
/// # Errors
/// Where predictions cannot be scored.
pub(crate) fn of_seed(predicted: &Predicted<'_>, seed: u64, members: usize) -> Result<Vec<Tested>> {
    let is_wanted =
        |row: &Candidate<'_>| rows::ensemble_index(&row.row).is_none_or(|n| n == members && n > 1);
    let together = predicted.candidates().into_iter().filter(is_wanted);
    let all: Vec<Candidate<'_>> = predicted.alone().take(members).chain(together).collect();
    all.par_iter()
        .map(|row| {
            let what = || format!("{} of seed {seed}", row.row);
            tested(row, seed).map_err(|source| Error::Score { what: what(), source })
        })
        .collect()
}

fn tested(candidate: &Candidate<'_>, seed: u64) -> metrics::Result<Tested> {
    let Candidate { row, val, test } = candidate;
    let temperature = fit_temperature(&val.probs()?, val.labels)?;
    let probs = test.probs()?;
    let hits = probs.top().zip(test.labels).map(|((class, _), label)| class == *label as usize);
    Ok(Tested {
        row: row.clone(),
        seed,
        members: test.m,
        confidence: probs.confidences(),
        calibrated: probs.scaled(temperature)?.confidences(),
        hits: hits.collect(),
        kl: if test.m > 1 { pairwise_kl(test.logits, test.m, test.n, test.k)? } else { Vec::new() },
    })
}
