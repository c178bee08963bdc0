//! The analyses of a plan: one for a seed's teachers, one for each of its students.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use results::analysis::{self, Analysis, TEACHERS};
use results::record;
use sha2::{Digest as _, Sha256};

use super::perturbations::{self, Settings};
use crate::config::Config;
use crate::plan::{Plan, Row, run_dir};

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

    /// The model files that it is computed from, by row: the teachers', then the student's.
    pub fn models(&self, folder: &Path) -> Vec<(String, PathBuf)> {
        let path = |row: &Row| (row.to_string(), run_dir(folder, row, self.seed).join(record::MODEL));
        self.teachers.iter().chain(&self.student).map(path).collect()
    }

    /// The first of its models that is not there.
    pub fn lacks(&self, folder: &Path) -> Option<PathBuf> {
        self.models(folder).into_iter().map(|(_, path)| path).find(|path| !path.is_file())
    }

    /// Whether its file is there, made from the models that are there now, with these perturbations. Models are read only
    /// where one is younger than the file.
    ///
    /// # Errors
    /// Where the file is damaged, or a model cannot be read.
    pub fn is_stored(&self, folder: &Path) -> anyhow::Result<bool> {
        let path = self.path(folder);
        let Some(made) = modified(&path)? else { return Ok(false) };
        let stored = Analysis::read(&path)?;
        let models = self.models(folder);
        if !perturbations::are_of(&self.perturbations, &stored) || models.len() != stored.models.len() {
            return Ok(false);
        }
        for (row, model) in models {
            let is_younger = modified(&model)?.is_some_and(|trained| trained > made);
            let hash = stored.models.get(&row);
            if hash.is_none() || is_younger && hash != Some(&sha256(&model)?) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The analyses of the `plan` of an experiment: of each seed that trains its teachers.
///
/// # Errors
/// Where the settings of a perturbation cannot be read.
pub fn of_plan(plan: &Plan, config: &Config) -> anyhow::Result<Vec<Piece>> {
    let members = config.members;
    let perturbations = perturbations::settings(config)?;
    let teachers: Vec<Row> = (1..=members).map(Row::Teacher).collect();
    let mut pieces = Vec::new();
    for run in &plan.runs {
        let student = match &run.row {
            Row::Teacher(index) if *index == members => None,
            Row::Teacher(_) => continue,
            Row::Student(_) => Some(run.row.clone()),
        };
        let trains = |row: &Row| plan.runs.iter().any(|other| other.seed == run.seed && other.row == *row);
        if teachers.iter().all(trains) {
            pieces.push(Piece {
                student,
                seed: run.seed,
                teachers: teachers.clone(),
                perturbations: perturbations.clone(),
            });
        }
    }
    Ok(pieces)
}

/// The analyses of `plan` that are not stored and whose models are there, and those that a process which is gone or still
/// at work has claimed.
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

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// Where it cannot be read.
pub fn sha256(path: &Path) -> anyhow::Result<String> {
    let what = || format!("cannot read {}", path.display());
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path).with_context(what)?, &mut hash).with_context(what)?;
    Ok(format!("{:x}", hash.finalize()))
}

/// When a file was last written, where there is one.
fn modified(path: &Path) -> anyhow::Result<Option<SystemTime>> {
    match fs::metadata(path).and_then(|file| file.modified()) {
        Ok(time) => Ok(Some(time)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}
