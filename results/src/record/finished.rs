//! A finished run, opened to be read.

use std::path::{Path, PathBuf};

use super::layout::{METRICS, MODEL, PREDICTIONS, RUN, TIMING, name, seed_folder, seed_of};
use super::log::{EpochRow, LogRow, TimingRow};
use super::predictions::Predictions;
use super::run_info::RunInfo;
use crate::{Error, Result};

/// A finished run: its folder and its description.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    dir: PathBuf,
    info: RunInfo,
}

impl Record {
    /// Opens the record in `dir`.
    ///
    /// # Errors
    /// Where it is no folder of a run; where `run.toml`, `metrics.csv` or `predictions.safetensors` is missing, `run.toml` is not valid, or it names
    /// another row or seed than the folder.
    pub fn open(dir: &Path) -> Result<Self> {
        let folder = std::path::absolute(dir).map_err(Error::io("find", dir))?;
        if !dir.is_dir() || (seed_of(&folder).is_none() && !dir.join(RUN).is_file()) {
            return Err(Error::NoRecord { dir: dir.to_owned() });
        }
        let record = Self::load(dir)?;
        let seed = seed_folder(record.info.seed);
        for (key, found, expected) in [
            ("row", Some(record.info.row.clone()), folder.parent().and_then(name)),
            ("seed", Some(seed), name(&folder)),
        ] {
            if found != expected {
                return Err(Error::Mismatch {
                    path: dir.join(RUN),
                    key,
                    expected: expected.unwrap_or_default(),
                    found: found.unwrap_or_default(),
                    advice: "the folder was moved or renamed: give it back its name",
                });
            }
        }
        Ok(record)
    }

    /// Reads the description of a complete record in a folder of any name.
    pub(super) fn load(dir: &Path) -> Result<Self> {
        for file in [RUN, METRICS, PREDICTIONS] {
            if !dir.join(file).is_file() {
                return Err(Error::Incomplete { dir: dir.to_owned(), file });
            }
        }
        Ok(Self { dir: dir.to_owned(), info: RunInfo::read(&dir.join(RUN))? })
    }

    /// The record's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was run.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// The stored predictions.
    ///
    /// # Errors
    /// As [`Predictions::read`].
    pub fn predictions(&self) -> Result<Predictions> {
        Predictions::read(&self.dir.join(PREDICTIONS))
    }

    /// The epochs' losses and accuracies, in order.
    ///
    /// # Errors
    /// As [`LogRow::read_all`].
    pub fn epochs(&self) -> Result<Vec<EpochRow>> {
        EpochRow::read_all(&self.dir.join(METRICS))
    }

    /// The epochs' wall times, in order.
    ///
    /// # Errors
    /// As [`LogRow::read_all`].
    pub fn timings(&self) -> Result<Vec<TimingRow>> {
        TimingRow::read_all(&self.dir.join(TIMING))
    }

    /// Where the kept model is, if it is stored with the record.
    pub fn model(&self) -> Option<PathBuf> {
        Some(self.dir.join(MODEL)).filter(|path| path.is_file())
    }
}
