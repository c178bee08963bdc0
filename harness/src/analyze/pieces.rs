//! The analyses of a plan: one for a seed's teachers, one for each of its students.

use std::path::{Path, PathBuf};

use results::analysis::{self, Analysis, TEACHERS};
use results::record;

use super::perturbations::{self, Settings};
use crate::config::Config;
use crate::plan::{Plan, Row, run_dir};
use crate::train::record::{read_info, sha256};

/// What one file of arrays is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The student; none for the teachers.
    pub student: Option<Row>,
    /// The repetition.
    pub seed: u64,
    /// The seed's first M teachers, who perturb the images and are compared with.
    pub teachers: Vec<Row>,
    /// The perturbations that it must have.
    pub perturbations: Settings,
}

impl Piece {
    /// The row of its file.
    pub fn row(&self) -> String {
        self.student.as_ref().map_or_else(|| TEACHERS.to_owned(), ToString::to_string)
    }

    /// Its file in the experiment's folder.
    pub fn path(&self, folder: &Path) -> PathBuf {
        analysis::path(folder, &self.row(), self.seed)
    }

    /// `analysis/.tmp-claim-<row>.seed-<n>`: the folder of its claim.
    pub fn claim_dir(&self, folder: &Path) -> PathBuf {
        folder.join(analysis::FOLDER).join(format!(".tmp-claim-{}.seed-{}", self.row(), self.seed))
    }

    /// The rows whose models it is computed from: the teachers, then the student.
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.teachers.iter().chain(&self.student)
    }

    /// The first of its models that is not there.
    pub fn lacks(&self, folder: &Path) -> Option<PathBuf> {
        let mut models = self.rows().map(|row| run_dir(folder, row, self.seed).join(record::MODEL));
        models.find(|path| !path.is_file())
    }

    /// Whether its file is there, made from the models of the records that are there, with these perturbations. What neither
    /// record nor model tells, as of an earlier version and without weights, is believed. A damaged file counts for none where
    /// the models are there.
    ///
    /// # Errors
    /// Where the file is damaged and cannot be made again, a record is damaged, or a file cannot be read.
    pub fn is_stored(&self, folder: &Path) -> anyhow::Result<bool> {
        let path = self.path(folder);
        if !path.is_file() {
            return Ok(false);
        }
        let is_damage = |error: &results::Error| !matches!(error, results::Error::Io { .. });
        let stored = match Analysis::read(&path) {
            Err(error) if is_damage(&error) && self.lacks(folder).is_none() => return Ok(false),
            stored => stored?,
        };
        let count = self.rows().count();
        if !perturbations::are_of(&self.perturbations, &stored) || count != stored.models.len() {
            return Ok(false);
        }
        for row in self.rows() {
            let dir = run_dir(folder, row, self.seed);
            if !dir.is_dir() {
                return Ok(false);
            }
            let model = dir.join(record::MODEL);
            let now = match read_info(&dir)?.models.remove(&row.to_string()) {
                None if model.is_file() => Some(sha256(&model)?),
                recorded => recorded,
            };
            let made = stored.models.get(&row.to_string());
            if made.is_none() || now.is_some_and(|now| made != Some(&now)) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The analyses of the teachers of some `seeds`.
///
/// # Errors
/// Where the settings of a perturbation cannot be read.
pub fn of_teachers(seeds: impl Iterator<Item = u64>, config: &Config) -> anyhow::Result<Vec<Piece>> {
    let perturbations = perturbations::settings(config)?;
    let teachers: Vec<Row> = (1..=config.members).map(Row::Teacher).collect();
    let of = |seed| Piece {
        student: None,
        seed,
        teachers: teachers.clone(),
        perturbations: perturbations.clone(),
    };
    Ok(seeds.map(of).collect())
}

/// The analyses of the `plan` of an experiment: of each seed that trains its teachers.
///
/// # Errors
/// Where the settings of a perturbation cannot be read.
pub fn of_plan(plan: &Plan, config: &Config) -> anyhow::Result<Vec<Piece>> {
    let mut pieces = Vec::new();
    let all = of_teachers(plan.runs.iter().map(|run| run.seed), config)?;
    for (run, of_teachers) in plan.runs.iter().zip(all) {
        let student = match &run.row {
            Row::Teacher(index) if *index == config.members => None,
            Row::Teacher(_) => continue,
            Row::Student(_) => Some(run.row.clone()),
        };
        let trains = |row: &Row| plan.runs.iter().any(|other| other.seed == run.seed && other.row == *row);
        if of_teachers.teachers.iter().all(trains) {
            pieces.push(Piece { student, ..of_teachers });
        }
    }
    Ok(pieces)
}

/// The analyses of `plan` that can be computed, for their models are there, and either are not stored or have a claim: another
/// process works on them, or ended while it did.
///
/// # Errors
/// As [`Piece::is_stored`].
pub fn missing(plan: &Plan, config: &Config) -> anyhow::Result<Vec<Piece>> {
    let mut missing = Vec::new();
    for piece in of_plan(plan, config)? {
        let folder = &plan.folder;
        let is_open = piece.claim_dir(folder).is_dir() || !piece.is_stored(folder)?;
        if is_open && piece.lacks(folder).is_none() {
            missing.push(piece);
        }
    }
    Ok(missing)
}

/// How many analyses of `plan` are neither stored nor can be computed, for lack of models.
///
/// # Errors
/// As [`Piece::is_stored`].
pub fn without_models(plan: &Plan, config: &Config) -> anyhow::Result<usize> {
    let mut count = 0;
    for piece in of_plan(plan, config)? {
        count += usize::from(piece.lacks(&plan.folder).is_some() && !piece.is_stored(&plan.folder)?);
    }
    Ok(count)
}
