//! The rows of each seed, scored image by image.

use std::collections::BTreeMap;
use std::path::Path;

use metrics::{Examples, dee, fit_temperature, pairwise_disagreement, pairwise_kl, resampled_mean};
use rayon::prelude::*;

use crate::record::{Record, RecordPath, scan_one};
use crate::table::{Candidate, Predicted};
use crate::{Column, Error, Result};

/// One value a column.
pub(super) type Values = [Option<f64>; Column::ALL.len()];

/// One repetition.
pub(super) struct Seed {
    pub(super) seed: u64,
    /// `de-1` .. `de-N`, then the students.
    pub(super) rows: Vec<Scored>,
    /// How many of the rows are ensembles: the curve of DEE.
    ensembles: usize,
    /// Test images.
    pub(super) images: usize,
}

/// A row's scores on each test image.
pub(super) struct Scored {
    pub(super) row: String,
    raw: Examples,
    calibrated: Examples,
    /// Divergence and disagreement of the members, where there are several.
    kl: Option<Vec<f64>>,
    disagreement: Option<Vec<f64>>,
}

/// Reads and scores every record in `folder`, seed by seed.
pub(super) fn read(folder: &Path) -> Result<Vec<Seed>> {
    let mut by_seed: BTreeMap<u64, Vec<RecordPath>> = BTreeMap::new();
    for path in scan_one(folder)? {
        by_seed.entry(path.seed).or_default().push(path);
    }
    if by_seed.is_empty() {
        return Err(Error::NoRecords { root: folder.to_owned() });
    }
    by_seed.into_iter().map(|(seed, paths)| score(seed, &paths)).collect()
}

fn score(seed: u64, paths: &[RecordPath]) -> Result<Seed> {
    let records = paths.iter().map(|path| Record::open(&path.dir)).collect::<Result<Vec<_>>>()?;
    let predicted = Predicted::read(&records)?;
    let scored = predicted
        .candidates()
        .par_iter()
        .map(|candidate| {
            let what = format!("{} of seed {seed}", candidate.row);
            Scored::new(candidate).map_err(|source| Error::Score { what, source })
        })
        .collect::<Result<Vec<_>>>()?;
    let images = scored.first().map_or(0, |row| row.raw.count());
    Ok(Seed { seed, rows: scored, ensembles: predicted.teachers(), images })
}

impl Scored {
    fn new(candidate: &Candidate<'_>) -> metrics::Result<Self> {
        let Candidate { row, val, test: members } = candidate;
        let temperature = fit_temperature(&val.probs()?, val.labels)?;
        let test = members.probs()?;
        let (logits, m, n, k) = (members.logits, members.m, members.n, members.k);
        let (kl, disagreement) = match m {
            1 => (None, None),
            _ => (Some(pairwise_kl(logits, m, n, k)?), Some(pairwise_disagreement(logits, m, n, k)?)),
        };
        Ok(Self {
            row: row.clone(),
            raw: Examples::new(&test, members.labels)?,
            calibrated: Examples::new(&test.scaled(temperature)?, members.labels)?,
            kl,
            disagreement,
        })
    }
}

impl Seed {
    /// Whether each row's DEE on all images is beyond an end of the curve. The largest ensemble is that end, not beyond it;
    /// any may be worse than DE-1.
    pub(super) fn bounded(&self) -> Vec<bool> {
        let all = vec![1; self.images];
        let nll: Vec<f64> = self.rows.iter().map(|row| row.calibrated.resampled(&all).nll).collect();
        let curve = &nll[..self.ensembles];
        let is_bound = |(at, value): (usize, &f64)| {
            dee(curve, *value).is_ok_and(|dee| dee.at_most || dee.at_least && at >= self.ensembles)
        };
        nll.iter().enumerate().map(is_bound).collect()
    }

    /// The columns of every row on the resample that has image i `counts[i]` times.
    pub(super) fn values(&self, counts: &[u32]) -> Vec<Values> {
        let scores: Vec<_> = self
            .rows
            .iter()
            .map(|row| (row.raw.resampled(counts), row.calibrated.resampled(counts)))
            .collect();
        let curve: Vec<f64> =
            scores.iter().take(self.ensembles).map(|(_, calibrated)| calibrated.nll).collect();
        let columns = |(row, (raw, calibrated)): (&Scored, &(metrics::Resampled, metrics::Resampled))| {
            Column::ALL.map(|column| match column {
                Column::Acc => Some(raw.acc),
                Column::Nll => Some(raw.nll),
                Column::Bs => Some(raw.bs),
                Column::Ece => Some(raw.ece),
                Column::Cnll => Some(calibrated.nll),
                Column::Cbs => Some(calibrated.bs),
                Column::Cece => Some(calibrated.ece),
                Column::Dee => dee(&curve, calibrated.nll).ok().map(|dee| dee.value),
                Column::Kld => row.kl.as_ref().map(|kl| resampled_mean(kl, counts)),
                Column::Dis => row.disagreement.as_ref().map(|share| resampled_mean(share, counts)),
            })
        };
        self.rows.iter().zip(&scores).map(columns).collect()
    }
}
