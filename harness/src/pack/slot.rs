//! The places that a packed file may have under the folder of records. No other path is accepted, so none leads out of it.

use std::fmt;
use std::path::{Path, PathBuf};

use results::analysis;
use results::record::{METRICS, MODEL, PREDICTIONS, RUN, TIMING};

use crate::plan::stored::PLAN;
use crate::plan::{Row, Run};
use crate::train::checkpoint;

/// A run, by the names of its folders.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunPath {
    /// `<experiment>-<preset>`.
    pub folder: String,
    /// `teacher-<j>` or a student.
    pub row: String,
    /// The repetition.
    pub seed: u64,
}

impl RunPath {
    /// The folder of its record.
    pub(super) fn dir(&self, out: &Path) -> PathBuf {
        out.join(&self.folder).join(&self.row).join(format!("seed-{}", self.seed))
    }

    /// The run, as one that is to be trained.
    pub(super) fn run(&self) -> Run {
        Run { row: Row::from(self.row.as_str()), seed: self.seed, needs: Vec::new(), finished: false }
    }

    /// The folder of its checkpoints.
    pub(super) fn checkpoints(&self, out: &Path) -> PathBuf {
        checkpoint::dir(&out.join(&self.folder), &self.row, self.seed)
    }
}

/// One file under the folder of records.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// `<folder>/<row>/seed-<n>/<file>`.
    Record(RunPath, String),
    /// `<folder>/<row>/.tmp-checkpoints-seed-<n>/<file>`.
    Checkpoint(RunPath, String),
    /// `<folder>/analysis/<file>`.
    Analysis(String, String),
    /// `<folder>/plan.toml`.
    Plan(String),
}

impl Slot {
    /// The slot of a path with `/` between its parts, where it has one.
    pub fn parse(path: &str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let slot = match parts[..] {
            [folder, PLAN] => Self::Plan(name(folder)?),
            [folder, analysis::FOLDER, file] => {
                let file = name(file).filter(|file| file.ends_with(".safetensors"))?;
                Self::Analysis(name(folder)?, file)
            }
            [folder, row, dir, file] => {
                let run = |seed: &str| -> Option<RunPath> {
                    Some(RunPath { folder: name(folder)?, row: name(row)?, seed: seed.parse().ok()? })
                };
                match dir.strip_prefix(checkpoint::DIR) {
                    Some(seed) => {
                        let file = name(file).filter(|file| checkpoint::is_name(file))?;
                        Self::Checkpoint(run(seed)?, file)
                    }
                    None => {
                        let known = [RUN, METRICS, TIMING, PREDICTIONS, MODEL].contains(&file);
                        known.then_some(())?;
                        Self::Record(run(dir.strip_prefix("seed-")?)?, file.to_owned())
                    }
                }
            }
            _ => return None,
        };
        // One spelling: no `seed-01`.
        (slot.to_string() == path).then_some(slot)
    }

    /// That of the checkpoint in the file `path`.
    pub(super) fn checkpoint(run: RunPath, path: &Path) -> Self {
        Self::Checkpoint(run, path.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    /// Where it is under `out`.
    pub fn path(&self, out: &Path) -> PathBuf {
        match self {
            Self::Record(run, file) => run.dir(out).join(file),
            Self::Checkpoint(run, file) => run.checkpoints(out).join(file),
            Self::Analysis(folder, file) => out.join(folder).join(analysis::FOLDER).join(file),
            Self::Plan(folder) => out.join(folder).join(PLAN),
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(RunPath { folder, row, seed }, file) => {
                write!(f, "{folder}/{row}/seed-{seed}/{file}")
            }
            Self::Checkpoint(RunPath { folder, row, seed }, file) => {
                write!(f, "{folder}/{row}/{}{seed}/{file}", checkpoint::DIR)
            }
            Self::Analysis(folder, file) => write!(f, "{folder}/{}/{file}", analysis::FOLDER),
            Self::Plan(folder) => write!(f, "{folder}/{PLAN}"),
        }
    }
}

/// A name of a file or folder: letters, digits, `-`, `_` and `.`, beginning with a letter or digit.
fn name(text: &str) -> Option<String> {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    (plain && text.starts_with(|c: char| c.is_ascii_alphanumeric())).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_back() {
        for path in [
            "quick-smoke/teacher-1/seed-1/run.toml",
            "quick-smoke/be-kd/seed-12/model.safetensors",
            "quick-smoke/be-kd/.tmp-checkpoints-seed-2/epoch-000001-step-00000012.safetensors",
            "quick-smoke/analysis/be-kd.seed-1.safetensors",
            "quick-smoke/plan.toml",
        ] {
            let slot = Slot::parse(path).expect(path);
            assert_eq!(slot.to_string(), path);
            assert_eq!(slot.path(Path::new("runs")), Path::new("runs").join(path));
        }
    }

    #[test]
    fn no_other_path_is_accepted() {
        for path in [
            "",
            "run.toml",
            "plan.toml",
            "../plan.toml",
            "quick-smoke/be/plan.toml",
            "../analysis/be.seed-1.safetensors",
            "..",
            "quick-smoke/table.csv",
            "/etc/passwd",
            "quick-smoke/analysis/../x.safetensors",
            "quick-smoke/be/seed-1/../run.toml",
            "quick-smoke/be/seed-1/evil.sh",
            "quick-smoke/be/seed-01/run.toml",
            "quick-smoke/be/seed-1/run.toml/",
            "quick-smoke/.tmp-x/seed-1/run.toml",
            "quick-smoke/be/.tmp-checkpoints-seed-1/run.toml",
            "quick-smoke/be/.tmp-checkpoints-seed-1/epoch-/../x.safetensors",
            "quick-smoke/be/.tmp-claim-seed-1/000001.toml",
            "quick-smoke/analysis/x.sh",
            "quick-smoke\\be\\seed-1\\run.toml",
            "C:/analysis/be.seed-1.safetensors",
        ] {
            assert_eq!(Slot::parse(path), None, "{path}");
        }
    }
}
