//! Analyses that records lack, from the records alone: computed where their weights and the data are at hand, else named
//! with what would make them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::{Context, ensure};
use results::analysis::{self, Analysis, TEACHERS};
use results::record::{RunInfo, scan_one};
use results::rows;
use serde::Deserialize as _;

use super::perturbations::{self, Settings};
use super::pieces::Piece;
use super::store::store;
use crate::config::{Config, Resolved};
use crate::device::Chosen;
use crate::plan::Row;
use crate::train::record::{self, read_info};
use crate::train::run::Session;
use crate::{interrupt, loading};

/// Which rows an analysis needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// The teachers'.
    Teachers,
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
    let paths = scan_one(folder)?;
    let infos = paths.iter().map(|path| read_info(&path.dir)).collect::<anyhow::Result<Vec<_>>>()?;
    let Some(info) = infos.first() else { return Ok(None) };
    let mut missing = Vec::new();
    for piece in pieces(folder, &infos)? {
        let is_wanted = match needs {
            Needs::Teachers => piece.student.is_none(),
            Needs::All => true,
        };
        if is_wanted && !piece.is_stored(folder)? {
            missing.push(piece);
        }
    }
    let (bare, computable): (Vec<Piece>, Vec<Piece>) =
        missing.into_iter().partition(|piece| piece.lacks(folder).is_some());
    let lacking = |pieces: &[Piece], reason: String| Lacking {
        folder: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        pieces: pieces.iter().map(|piece| format!("{}/seed-{}", piece.row(), piece.seed)).collect(),
        reason,
        command: format!("divkd reproduce {} --preset {}", info.experiment, info.preset),
    };
    if !computable.is_empty()
        && let Err(error) = compute(folder, &infos, &computable, data_dir, device)
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

/// Loads the data of the records, of which there is at least one, and computes `pieces`.
fn compute(
    folder: &Path,
    infos: &[RunInfo],
    pieces: &[Piece],
    data_dir: Option<&Path>,
    device: &Chosen,
) -> anyhow::Result<()> {
    let info = &infos[0];
    let mut resolved = Resolved {
        experiment: info.experiment.clone(),
        preset: info.preset.clone(),
        config: config(infos).map_err(|error| NoData(format!("{error:#}")))?,
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
    for RunInfo { row, seed, data: own, .. } in infos {
        ensure!(
            (&data.sha256, data.rows) == (&own.sha256, own.rows),
            "{}: these are not the data that its records were made from ({}): see `data` in {row}/seed-{seed}/run.toml",
            folder.display(),
            own.source
        );
    }
    interrupt::catch().context("cannot handle signals")?;
    let mut left = pieces.to_vec();
    while let Some(members) = left.first().map(|piece| piece.teachers.len()) {
        let (now, later) = left.into_iter().partition(|piece| piece.teachers.len() == members);
        left = later;
        resolved.config.members = members;
        let out = folder.parent().unwrap_or(folder);
        store(&Session { resolved: &resolved, out, splits: &splits, device, command: "" }, &now)?;
    }
    Ok(())
}

/// The configuration of the records, with each method's settings as its own record has them.
fn config(infos: &[RunInfo]) -> anyhow::Result<Config> {
    let read = |info: &RunInfo| {
        Config::deserialize(info.config.clone()).with_context(|| {
            format!("the configuration of {}/seed-{} is of another version", info.row, info.seed)
        })
    };
    let mut config = read(infos.first().context("there is no record")?)?;
    let mut seen = BTreeSet::new();
    for info in infos.iter().filter(|info| seen.insert(&info.row)) {
        if let Some(settings) = read(info)?.method.get(&info.row) {
            config.method.insert(info.row.clone(), settings.clone());
        }
    }
    Ok(config)
}

/// The settings that perturbations must have in an analysis of these records: those of the methods among them. (Of other methods
/// the records say nothing.) None where the configuration is of another version.
fn wanted_perturbations(infos: &[RunInfo]) -> Settings {
    let settings = config(infos).and_then(|config| perturbations::settings(&config));
    let mut settings = settings.unwrap_or_default();
    settings.retain(|method, _| infos.iter().any(|info| info.row == *method));
    settings
}

/// M of a record's configuration.
fn members(info: &RunInfo) -> usize {
    let members = info.config.get("members").and_then(toml::Value::as_integer);
    members.and_then(|members| usize::try_from(members).ok()).unwrap_or(1)
}

/// The analyses of the seeds that have records of teachers 1..M: of each student with its own M, and of the teachers with the
/// students', else with what is stored of them.
fn pieces(folder: &Path, infos: &[RunInfo]) -> anyhow::Result<Vec<Piece>> {
    let perturbations = wanted_perturbations(infos);
    let mut by_seed: BTreeMap<u64, Vec<&RunInfo>> = BTreeMap::new();
    for info in infos {
        by_seed.entry(info.seed).or_default().push(info);
    }
    let mut pieces = Vec::new();
    for (seed, found) in by_seed {
        let (teachers, students): (Vec<&RunInfo>, Vec<&RunInfo>) =
            found.into_iter().partition(|info| rows::teacher_index(&info.row).is_some());
        let mut add = |student: Option<&RunInfo>, members: usize| {
            let has = |n: usize| teachers.iter().any(|teacher| teacher.row == rows::teacher(n));
            if (1..=members).all(has) {
                pieces.push(Piece {
                    student: student.map(|info| Row::Student(info.row.clone())),
                    seed,
                    teachers: (1..=members).map(Row::Teacher).collect(),
                    perturbations: perturbations.clone(),
                });
            }
        };
        let stored = analysis::path(folder, TEACHERS, seed);
        let of_teachers = match students.iter().map(|info| members(info)).max() {
            Some(members) => members,
            None if stored.is_file() => Analysis::read(&stored)?.models.len(),
            None => teachers.iter().map(|info| members(info)).max().unwrap_or(0),
        };
        add(None, of_teachers);
        students.iter().for_each(|student| add(Some(student), members(student)));
    }
    Ok(pieces)
}
