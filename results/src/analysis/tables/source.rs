//! What the tables and figures of one experiment are made from, beside its scores.

use std::collections::BTreeMap;
use std::path::Path;

use crate::analysis::{Analysis, TEACHERS, of_records};
use crate::record::{Record, RunInfo, scan_one};
use crate::table::Predicted;
use crate::tested::{Tested, of_seed};
use crate::{Error, Result, rows};

/// The stored analyses of an experiment, and what its test predictions say.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The experiment's folder's name, such as `quick-smoke`.
    pub folder: String,
    /// How many teachers a student learns from: M, the most where seeds differ.
    pub members: usize,
    /// The stored analyses of these records ([`of_records`]); empty for records that lack them.
    pub analyses: Vec<Analysis>,
    /// Why others are left out, a sentence each.
    pub left_out: Vec<String>,
    /// Test predictions of the students, the first M teachers and their ensemble.
    pub tested: Vec<Tested>,
}

impl Source {
    /// Reads the experiment whose folder is `folder` (`<experiment>-<preset>`).
    ///
    /// # Errors
    /// Where a record or an analysis is damaged, or there are no records.
    pub fn read(folder: &Path) -> Result<Self> {
        let paths = scan_one(folder)?;
        let Some(first) = paths.first() else { return Err(Error::NoRecords { root: folder.to_owned() }) };
        let name = first.folder.clone();
        let records = paths.iter().map(|path| Record::open(&path.dir)).collect::<Result<Vec<_>>>()?;
        let infos: Vec<&RunInfo> = records.iter().map(Record::info).collect();
        let (analyses, left_out) = of_records(folder, &infos)?;
        let mut source = Self { folder: name, members: 0, analyses, left_out, tested: Vec::new() };
        let mut by_seed: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
        for record in records {
            by_seed.entry(record.info().seed).or_default().push(record);
        }
        // A seed at a time: predictions are large, what is kept of them is not.
        for (seed, records) in by_seed {
            let predicted = Predicted::read(&records)?;
            let members = source.members_of(seed, &predicted);
            source.members = source.members.max(members);
            source.tested.extend(of_seed(&predicted, seed, members)?);
        }
        Ok(source)
    }

    /// M of a seed: what a student has, else what is stored of the teachers, else all of them.
    fn members_of(&self, seed: u64, predicted: &Predicted<'_>) -> usize {
        let student =
            predicted.candidates()[predicted.teachers()..].iter().map(|student| student.test.m).max();
        let stored = || {
            let of_seed = self.of(TEACHERS).filter(|one| one.seed == seed);
            of_seed.filter_map(|one| one.confidence.as_ref()).map(|confidence| confidence.len()).next()
        };
        student.filter(|&members| members > 1).or_else(stored).unwrap_or(predicted.teachers())
    }

    /// The ensemble that students learn from, `de-<M>`.
    pub(crate) fn ensemble(&self) -> String {
        rows::ensemble(self.members)
    }

    /// The stored analyses of `row`, a seed each.
    pub(crate) fn of(&self, row: &str) -> impl Iterator<Item = &Analysis> {
        self.analyses.iter().filter(move |analysis| analysis.row == row)
    }

    /// The test predictions of `row`, a seed each; [`TEACHERS`] is the ensemble.
    pub(crate) fn tested(&self, row: &str) -> impl Iterator<Item = &Tested> {
        let row = if row == TEACHERS { self.ensemble() } else { row.to_owned() };
        self.tested.iter().filter(move |tested| tested.row == row)
    }

    /// The test predictions of the first M teachers, each by itself.
    pub(crate) fn teachers(&self) -> impl Iterator<Item = &Tested> {
        self.tested.iter().filter(|tested| rows::teacher_index(&tested.row).is_some())
    }

    /// [`TEACHERS`] and the students, in the tables' order.
    pub(super) fn rows(&self) -> Vec<&str> {
        let students = self.tested.iter().map(|tested| tested.row.as_str());
        let students = students
            .filter(|row| rows::teacher_index(row).is_none() && rows::ensemble_index(row).is_none())
            .chain(self.analyses.iter().map(|analysis| analysis.row.as_str()));
        let mut rows: Vec<&str> = students.chain([TEACHERS]).collect();
        rows.sort_by_cached_key(|row| (*row != TEACHERS, rows::order(row)));
        rows.dedup();
        rows
    }
}
