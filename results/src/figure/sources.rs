//! Everything that the figures of one experiment are drawn from, read once.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;

use rayon::prelude::*;

use super::style::{self, Style};
use crate::analysis::tables::Source;
use crate::analysis::{Analysis, TEACHERS};
use crate::check::claims::TrainKld;
use crate::record::{EpochRow, Record, RunInfo, TimingRow, scan_one};
use crate::table::{Cell, Experiment};
use crate::tested::Tested;
use crate::{Column, Result, rows};

/// The records of one `<experiment>-<preset>` folder, as figures and the report need them.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The table.
    pub experiment: Experiment,
    /// The teachers' diversity on training images by seed, from the stored analyses.
    pub train_kld: TrainKld,
    /// What was run, in the order of the tables.
    pub runs: Vec<Run>,
    /// Analyses, and what test predictions say.
    pub source: Source,
}

/// One record without its predictions.
#[derive(Clone, Debug)]
pub struct Run {
    /// What was run.
    pub info: RunInfo,
    /// Its epochs.
    pub epochs: Vec<EpochRow>,
    /// Their wall times; empty where they were not kept.
    pub timings: Vec<TimingRow>,
}

impl Sources {
    /// Reads the records of `experiment`, which lie in `folder`.
    ///
    /// # Errors
    /// Where a record or an analysis is missing something or is damaged.
    pub fn read(folder: &Path, experiment: &Experiment) -> Result<Self> {
        let paths = scan_one(folder)?;
        let records = paths.iter().map(|path| Record::open(&path.dir)).collect::<Result<Vec<_>>>()?;
        let source = Source::read(folder)?;
        Ok(Self {
            experiment: experiment.clone(),
            runs: records.par_iter().map(Run::read).collect::<Result<_>>()?,
            train_kld: source.of(TEACHERS).map(|one| (one.seed, one.train_kld())).collect(),
            source,
        })
    }

    /// How many seeds the rows have: the fewest and the most.
    pub(super) fn seeds(&self) -> RangeInclusive<usize> {
        let seeds = || self.experiment.rows.iter().map(|row| row.seeds);
        seeds().min().unwrap_or(0)..=seeds().max().unwrap_or(0)
    }

    /// How many teachers a student learns from: M.
    pub(super) fn members(&self) -> usize {
        self.source.members
    }

    /// The row of the ensemble that students learn from.
    pub(super) fn ensemble(&self) -> String {
        self.source.ensemble()
    }

    /// The names of the students that have records, in the tables' order.
    pub(super) fn students(&self) -> impl Iterator<Item = &str> {
        self.experiment
            .rows
            .iter()
            .map(|row| row.name.as_str())
            .filter(|row| rows::ensemble_index(row).is_none())
    }

    /// The students that are not of the paper, in the tables' order.
    pub(super) fn others(&self) -> impl Iterator<Item = &str> {
        self.students().filter(|row| style::of_paper(row).is_none())
    }

    /// How a row looks in every figure: those that are not of the paper in the order of [`Self::others`].
    pub(super) fn style(&self, row: &str) -> Style {
        let other = || self.others().position(|other| other == row).map(style::other);
        style::of_paper(row).or_else(other).unwrap_or(style::NEUTRAL)
    }

    /// A row's value in a column of the table.
    pub(super) fn cell(&self, row: &str, column: Column) -> Option<Cell> {
        self.experiment.row(row)?.cell(column)
    }

    /// A row's values in a column of the table by seed.
    pub(super) fn by_seed(&self, row: &str, column: Column) -> BTreeMap<u64, f64> {
        self.experiment.row(row).map(|row| row.values(column)).unwrap_or_default()
    }

    /// The test predictions of a row, a seed each.
    pub(super) fn tested(&self, row: &str) -> impl Iterator<Item = &Tested> {
        self.source.tested(row)
    }

    /// The stored analyses of a row, a seed each.
    pub(super) fn analyses(&self, row: &str) -> impl Iterator<Item = &Analysis> {
        self.source.of(row)
    }

    /// The stored analyses of the teachers, a seed each.
    pub(super) fn teachers(&self) -> impl Iterator<Item = &Analysis> {
        self.analyses(TEACHERS)
    }
}

impl Run {
    fn read(record: &Record) -> Result<Self> {
        let timings =
            if record.dir().join(crate::record::TIMING).is_file() { record.timings()? } else { Vec::new() };
        Ok(Self { info: record.info().clone(), epochs: record.epochs()?, timings })
    }
}
