//! From the records under a folder to the table.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::measure::{self, Measured, Seed};
use super::mixed;
use super::model::{Cell, Experiment, Row, Table};
use crate::record::{RUN, Record, RecordPath, scan, scan_one};
use crate::{Column, Error, Result, reference, rows};

impl Table {
    /// The table of the records that [`scan`] finds under `root`. A row is measured on the seeds it has.
    ///
    /// # Errors
    /// Where there are no records, one is incomplete or not valid, runs of one seed were made on different examples, or
    /// predictions cannot be scored.
    pub fn build(root: &Path) -> Result<Self> {
        let mut folders: BTreeMap<(String, PathBuf), Vec<RecordPath>> = BTreeMap::new();
        for path in scan(root)? {
            let folder = path.dir.ancestors().nth(2).unwrap_or(root).to_owned();
            folders.entry((path.folder.clone(), folder)).or_default().push(path);
        }
        if folders.is_empty() {
            return Err(Error::NoRecords { root: root.to_owned() });
        }
        let experiments = folders.into_values().map(|paths| Experiment::of(&paths)).collect::<Result<_>>()?;
        Ok(Self { experiments })
    }

    /// The table of the one experiment whose folder is `folder`.
    ///
    /// # Errors
    /// As [`Table::build`].
    pub fn of_one(folder: &Path) -> Result<Self> {
        Ok(Self { experiments: vec![Experiment::read(folder)?] })
    }
}

impl Experiment {
    /// The table of the experiment whose folder is `folder` (`<experiment>-<preset>`).
    ///
    /// # Errors
    /// As [`Table::build`].
    pub fn read(folder: &Path) -> Result<Self> {
        let paths = scan_one(folder)?;
        if paths.is_empty() {
            return Err(Error::NoRecords { root: folder.to_owned() });
        }
        Self::of(&paths)
    }

    /// The table of the records at `paths`, all in one folder, of which there is at least one.
    fn of(paths: &[RecordPath]) -> Result<Self> {
        let folder = paths.first().map(|path| path.folder.clone()).unwrap_or_default();
        let records = paths.iter().map(|path| Record::open(&path.dir)).collect::<Result<Vec<_>>>()?;
        experiment(folder, records)
    }
}

fn experiment(folder: String, records: Vec<Record>) -> Result<Experiment> {
    let (name, preset) = one_experiment(&records)?;
    let published = reference::find(&name)?;
    let excludes = |record: &Record| published.as_ref()?.excludes(&preset, &record.info().config);
    let withheld = records.iter().find_map(excludes);
    let reference = published.filter(|_| withheld.is_none());
    let departs = |record: &Record| {
        let info = record.info();
        let reference = reference.as_ref().filter(|reference| reference.preset == preset)?;
        let how = reference.departs(&info.row, &info.config)?;
        Some(format!(
            "{}/seed-{} was trained otherwise than the published networks: {how}.",
            info.row, info.seed
        ))
    };
    let doubts = mixed::doubts(&records).into_iter().chain(records.iter().find_map(departs)).collect();
    let mut by_seed: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
    for record in records {
        by_seed.entry(record.info().seed).or_default().push(record);
    }
    let seeds: BTreeMap<u64, Seed> = by_seed
        .par_iter()
        .map(|(seed, records)| Ok((*seed, measure::seed(records)?)))
        .collect::<Result<_>>()?;

    let mut by_row: BTreeMap<&str, BTreeMap<u64, &Measured>> = BTreeMap::new();
    for (seed, measured) in &seeds {
        for row in &measured.rows {
            by_row.entry(&row.row).or_default().insert(*seed, row);
        }
    }
    let mut rows: Vec<Row> = by_row.into_iter().map(|(name, seeds)| over_seeds(name, &seeds)).collect();
    rows.sort_by_cached_key(|row| rows::order(&row.name));
    Ok(Experiment {
        folder,
        preset,
        members: seeds.values().map(|seed| seed.members).max().filter(|members| *members > 1),
        teachers: seeds.iter().map(|(seed, measured)| (*seed, measured.teachers)).collect(),
        rows,
        reference,
        withheld,
        doubts,
    })
}

/// The experiment and preset that all `records` of a folder are of.
fn one_experiment(records: &[Record]) -> Result<(String, String)> {
    let mut of = None;
    for record in records {
        let own = (record.info().experiment.clone(), record.info().preset.clone());
        let (experiment, preset) = of.get_or_insert_with(|| own.clone());
        if own != (experiment.clone(), preset.clone()) {
            return Err(Error::Mismatch {
                path: record.dir().join(RUN),
                key: "experiment and preset",
                expected: format!("{experiment}-{preset}"),
                found: format!("{}-{}", own.0, own.1),
                advice: "keep the records of one experiment and preset in a folder of their own",
            });
        }
    }
    Ok(of.unwrap_or_default())
}

fn over_seeds(name: &str, seeds: &BTreeMap<u64, &Measured>) -> Row {
    let cells = Column::ALL.map(|column| {
        let values: Vec<f64> = seeds.values().filter_map(|seed| seed.values[column as usize]).collect();
        let bounds = seeds.values().filter(|_| column == Column::Dee).filter_map(|seed| seed.bound);
        Cell::over_seeds(&values, bounds)
    });
    let values = seeds.iter().map(|(seed, measured)| (*seed, measured.values)).collect();
    let bounds = seeds.iter().filter_map(|(seed, measured)| Some((*seed, measured.bound?))).collect();
    Row::new(name.to_owned(), values, bounds, cells)
}
