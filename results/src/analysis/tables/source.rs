//! What the tables of one experiment are made from.

use std::collections::BTreeMap;
use std::path::Path;

use metrics::{Probs, pairwise_kl};

use crate::analysis::{Analysis, TEACHERS, scan as scan_analyses};
use crate::record::{Record, RecordPath, scan};
use crate::table::{Candidate, Predicted};
use crate::{Error, Result, rows};

/// The stored analyses of an experiment, and what its test predictions say.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The experiment's folder's name, such as `quick-smoke`.
    pub folder: String,
    /// The stored analyses; empty for records that lack them.
    pub analyses: Vec<Analysis>,
    pub(super) tested: Vec<Tested>,
}

/// The members of a row on the test images of one seed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tested {
    /// [`TEACHERS`] or a student of several subnetworks.
    pub(super) row: String,
    pub(super) seed: u64,
    /// Largest probability of the mean prediction, and mean pairwise KL, image by image.
    pub(super) diversity: Vec<(f64, f64)>,
    /// Each member's largest probability on every image.
    pub(super) confidence: Vec<f64>,
}

impl Source {
    /// Reads the experiment whose folder is `folder` (`<experiment>-<preset>`).
    ///
    /// # Errors
    /// Where a record or an analysis is damaged, or there are no records.
    pub fn read(folder: &Path) -> Result<Self> {
        let analyses = scan_analyses(folder)?;
        let mut by_seed: BTreeMap<u64, Vec<RecordPath>> = BTreeMap::new();
        let mut name = String::new();
        for path in scan(folder)? {
            name.clone_from(&path.folder);
            by_seed.entry(path.seed).or_default().push(path);
        }
        if by_seed.is_empty() {
            return Err(Error::NoRecords { root: folder.to_owned() });
        }
        let mut tested = Vec::new();
        for (seed, paths) in by_seed {
            let records = paths.iter().map(|path| Record::open(&path.dir)).collect::<Result<Vec<_>>>()?;
            tested.extend(of_seed(seed, &Predicted::read(&records)?, &analyses)?);
        }
        Ok(Self { folder: name, analyses, tested })
    }

    /// The stored analyses of `row`, a seed each.
    pub(super) fn of(&self, row: &str) -> impl Iterator<Item = &Analysis> {
        self.analyses.iter().filter(move |analysis| analysis.row == row)
    }

    /// The rows that have a stored analysis or test predictions of several members, the teachers' first.
    pub(super) fn rows(&self) -> Vec<&str> {
        let stored = self.analyses.iter().map(|analysis| analysis.row.as_str());
        let mut rows: Vec<&str> =
            stored.chain(self.tested.iter().map(|tested| tested.row.as_str())).collect();
        rows.sort_by_cached_key(|row| (*row != TEACHERS, rows::order(row)));
        rows.dedup();
        rows
    }
}

/// The first M teachers together and the students of several subnetworks; M as stored, else as many as a student has.
fn of_seed(seed: u64, predicted: &Predicted<'_>, analyses: &[Analysis]) -> Result<Vec<Tested>> {
    let candidates = predicted.candidates();
    let (ensembles, students) = candidates.split_at(predicted.teachers());
    let stored = analyses.iter().filter(|one| one.seed == seed).find_map(|one| one.confidence.as_ref());
    let members = stored.map(|confidence| confidence.len()).or(students.iter().map(|one| one.test.m).max());
    let ensemble = ensembles.iter().find(|one| Some(one.test.m) == members).or(ensembles.last());
    let rows = ensemble
        .map(|one| (TEACHERS, one))
        .into_iter()
        .chain(students.iter().map(|one| (one.row.as_str(), one)));
    rows.filter(|(_, one)| one.test.m > 1)
        .map(|(row, one)| {
            let what = format!("{row} of seed {seed}");
            tested(row, seed, one).map_err(|source| Error::Score { what, source })
        })
        .collect()
}

fn tested(row: &str, seed: u64, candidate: &Candidate<'_>) -> metrics::Result<Tested> {
    let test = &candidate.test;
    let kl = pairwise_kl(test.logits, test.m, test.n, test.k)?;
    let confidence = test.probs()?.confidences();
    // Every member's every image as an example of one network.
    let alone = Probs::mean_of_members(test.logits, 1, test.m * test.n, test.k)?;
    Ok(Tested {
        row: row.to_owned(),
        seed,
        diversity: confidence.into_iter().zip(kl).collect(),
        confidence: alone.confidences(),
    })
}
