//! `run.toml`: everything needed to know, and to repeat, what a run was.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The description of one run. Equal descriptions are written as equal bytes: keys have one order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunInfo {
    /// Version of the experiment protocol that was followed.
    pub protocol: String,
    /// The experiment's name, such as `cifar100`.
    pub experiment: String,
    /// The preset's name, one of the experiment's, such as `paper`, `paper-short`, `laptop` or `smoke`.
    pub preset: String,
    /// The row: `teacher-<n>` or a method's name.
    pub row: String,
    /// The repetition's seed.
    pub seed: u64,
    /// The command line that made the run.
    pub command: String,
    /// The code's revision.
    pub revision: String,
    /// The device, such as `cpu`, `cuda:0` or, where it is not f32, with the precision as a word of its own: `cuda:0 bf16`.
    pub device: String,
    /// What the bits depend on beside the revision: architecture, system and instruction set, and on a CUDA device its name
    /// and versions. Older records do not have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// How many threads computed.
    pub threads: usize,
    /// Versions of the program and of what computes, by name.
    pub versions: BTreeMap<String, String>,
    /// SHA-256 in hexadecimal of the model file that was kept and of those of the teachers that it learned from, by row. Older
    /// records do not have them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<String, String>,
    /// What was trained and tested on.
    pub data: DataInfo,
    /// The resolved configuration: every setting, defaults included.
    pub config: toml::Table,
}

/// Where a run's data came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataInfo {
    /// The source: a hub repository with its revision, a folder, or `synthetic` with its seed.
    pub source: String,
    /// How rows were split and reduced, and whether hashes were compared or recorded, as sentences.
    pub note: String,
    /// How many examples each split has.
    pub rows: SplitRows,
    /// SHA-256 in hexadecimal of each file that was read, by file name; of each split where images were made.
    pub sha256: BTreeMap<String, String>,
}

/// Examples in each split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitRows {
    /// Training examples.
    pub train: usize,
    /// Validation examples.
    pub val: usize,
    /// Test examples.
    pub test: usize,
}

impl RunInfo {
    /// Reads `run.toml`.
    ///
    /// # Errors
    /// Where the file cannot be read, a key is missing, unknown or of another type.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        toml::from_str(&text).map_err(|source| Error::Toml {
            what: "run description",
            path: path.to_owned(),
            source: Box::new(source),
        })
    }

    /// Writes `run.toml`.
    ///
    /// # Errors
    /// Where the file cannot be written, or a number does not fit TOML (seeds end at 2^63 - 1).
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = toml::to_string(self).map_err(|source| Error::Encode { path: path.to_owned(), source })?;
        fs::write(path, text).map_err(Error::io("write", path))
    }
}
