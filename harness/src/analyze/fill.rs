//! Analyses that records lack, from the records alone: computed where their weights and the data are at hand, else named
//! with what would make them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context, ensure};
use results::analysis::{Set, TEACHERS};
use results::record::{Record, RecordPath, RunInfo, scan};
use results::rows;
use serde::Deserialize as _;

use super::perturbations::{self, Settings};
use super::pieces::Piece;
use super::store::store;
use crate::config::{Config, Resolved};
use crate::device::Chosen;
use crate::plan::Row;
use crate::train::record;
use crate::train::run::Session;
use crate::{interrupt, loading};

/// Which rows an analysis needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The teachers'.
    Teachers,
    /// The students'.
    Students,
    /// All.
    All,
}

/// Analyses of one experiment that are neither stored nor can be computed here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lacking {
    /// `<experiment>-<preset>`.
    folder: String,
    /// Rows and seeds, such as `be-kd/seed-1`.
    pieces: Vec<String>,
    /// What is missing: the first weights that are not there, or why the data cannot be read.
    reason: String,
    /// The command that makes them.
    command: String,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        let shown = self.pieces.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = match self.pieces.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        write!(
            f,
            "{}: no stored analysis of {shown}{more}, and none can be computed here: {}. `{}` makes them where the records \
             have their weights, or trains what is not there",
            self.folder, self.reason, self.command
        )
    }
}

/// Computes and stores what the records in `folder` lack of what `needs` says; what cannot be computed is returned.
///
/// # Errors
/// Records that are damaged; data that are not those of the records; failures of device and disk; a signal.
pub fn fill(
    folder: &Path,
    needs: Needs,
    data_dir: Option<&Path>,
    device: &Chosen,
) -> anyhow::Result<Option<Lacking>> {
    let records = scan(folder)?;
    let Some(first) = records.first() else { return Ok(None) };
    let info = Record::open(&first.dir)?.info().clone();
    let perturbations = of_records(&records, &info);
    let mut missing = Vec::new();
    for piece in pieces(&records, members(&info), &perturbations) {
        let is_wanted = match needs {
            Needs::Teachers => piece.student.is_none(),
            Needs::Students => piece.student.is_some(),
            Needs::All => true,
        };
        if is_wanted && !piece.is_stored(folder)? {
            missing.push(piece);
        }
    }
    let (bare, computable): (Vec<Piece>, Vec<Piece>) =
        missing.into_iter().partition(|piece| piece.lacks(folder).is_some());
    let lacking = |pieces: &[Piece], reason: String| Lacking {
        folder: first.folder.clone(),
        pieces: pieces.iter().map(|piece| format!("{}/seed-{}", piece.row(), piece.seed)).collect(),
        reason,
        command: format!("divkd reproduce {} --preset {}", info.experiment, info.preset),
    };
    if !computable.is_empty()
        && let Err(error) = compute(folder, &records, &info, &computable, data_dir, device)
    {
        match error.downcast::<NoData>() {
            Ok(NoData(reason)) => return Ok(Some(lacking(&computable, reason))),
            Err(error) => return Err(error),
        }
    }
    let weights = bare.first().and_then(|piece| piece.lacks(folder));
    Ok(weights.map(|path| lacking(&bare, format!("{} is missing", path.display()))))
}

/// The data or the configuration that they are loaded by cannot be read, and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NoData(String);

/// Loads the data of the records and computes `pieces`.
fn compute(
    folder: &Path,
    records: &[RecordPath],
    info: &RunInfo,
    pieces: &[Piece],
    data_dir: Option<&Path>,
    device: &Chosen,
) -> anyhow::Result<()> {
    let resolved = Resolved {
        experiment: info.experiment.clone(),
        preset: info.preset.clone(),
        config: config(records, info).map_err(|error| NoData(format!("{error:#}")))?,
    };
    let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    ensure!(
        name == resolved.folder(),
        "{}: its records are of {}: give the folder back its name",
        folder.display(),
        resolved.folder()
    );
    if data_dir.is_none() && info.data.source.starts_with("folder") {
        return Err(NoData("the data came from a folder: name it with --data-dir".to_owned()).into());
    }
    let splits = loading::splits(&resolved.config.data, data_dir)
        .map_err(|error| NoData(format!("the data cannot be read: {error:#}")))?;
    let data = record::data(&splits);
    ensure!(
        (&data.sha256, data.rows) == (&info.data.sha256, info.data.rows),
        "{}: these are not the data that its records were made from ({}): see `data` in their run.toml",
        folder.display(),
        info.data.source
    );
    let session = Session {
        resolved: &resolved,
        out: folder.parent().unwrap_or(folder),
        splits: &splits,
        device,
        command: "",
    };
    interrupt::catch().context("cannot handle signals")?;
    store(&session, pieces)
}

/// The configuration of the records, with each method's settings as its own record has them.
fn config(records: &[RecordPath], info: &RunInfo) -> anyhow::Result<Config> {
    let read = |info: &RunInfo| {
        Config::deserialize(info.config.clone()).with_context(|| {
            format!("the configuration of {}/seed-{} is of another version", info.row, info.seed)
        })
    };
    let mut config = read(info)?;
    let mut seen = BTreeSet::new();
    for path in records.iter().filter(|path| seen.insert(path.row.clone())) {
        let own = read(Record::open(&path.dir)?.info())?;
        if let Some(settings) = own.method.get(&path.row) {
            config.method.insert(path.row.clone(), settings.clone());
        }
    }
    Ok(config)
}

/// The settings of the perturbations whose methods have records: of the others the records do not say which ones are wanted. A
/// configuration of another version says nothing.
fn of_records(records: &[RecordPath], info: &RunInfo) -> Settings {
    let settings = config(records, info).and_then(|config| perturbations::settings(&config));
    let mut settings = settings.unwrap_or_default();
    let sets: Vec<Set> = records.iter().map(|record| perturbations::set(&record.row)).collect();
    settings.retain(|name, _| sets.iter().any(|set| set.name() == name));
    settings
}

/// M of a record's configuration.
fn members(info: &RunInfo) -> usize {
    let members = info.config.get("members").and_then(toml::Value::as_integer);
    members.and_then(|members| usize::try_from(members).ok()).unwrap_or(1)
}

/// The analyses of the seeds that have records of teachers 1..M: of these teachers and of each student.
fn pieces(records: &[RecordPath], members: usize, perturbations: &Settings) -> Vec<Piece> {
    let teachers: Vec<Row> = (1..=members).map(Row::Teacher).collect();
    let mut by_seed: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
    for record in records {
        by_seed.entry(record.seed).or_default().push(&record.row);
    }
    let mut pieces = Vec::new();
    for (seed, found) in by_seed {
        if !(1..=members).all(|n| found.contains(&rows::teacher(n).as_str())) {
            continue;
        }
        let students = found.into_iter().filter(|row| rows::teacher_index(row).is_none() && *row != TEACHERS);
        let students = students.map(|row| Some(Row::Student(row.to_owned())));
        pieces.extend(std::iter::once(None).chain(students).map(|student| Piece {
            student,
            seed,
            teachers: teachers.clone(),
            perturbations: perturbations.clone(),
        }));
    }
    pieces
}
