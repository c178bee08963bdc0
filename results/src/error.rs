//! What can be wrong with records and tables: each error names the file and the place in it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::analysis;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a record cannot be written or read, or a table cannot be made.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried: `read`, `write`, `create`, `rename` ..
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A TOML file does not hold what it should.
    #[error("{} is not a valid {what} ({})", path.display(), mend(path))]
    Toml {
        /// What the file should be: `run description`, `reference table`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Line, key and expectation.
        source: Box<toml::de::Error>,
    },
    /// A description cannot be put into TOML.
    #[error("cannot express the description in {} as TOML", path.display())]
    Encode {
        /// The file that was to be written.
        path: PathBuf,
        /// The key and its problem.
        source: toml::ser::Error,
    },
    /// A predictions or analysis file is not a safetensors file or lacks a tensor.
    #[error("{} is not the safetensors file that it should be ({})", path.display(), mend(path))]
    Safetensors {
        /// The file.
        path: PathBuf,
        /// The format's complaint.
        source: safetensors::SafeTensorError,
    },
    /// A tensor of such a file has another type, shape or content than the layout says.
    #[error("{}: tensor {name}: expected {expected}, found {found} ({})", path.display(), mend(path))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// What the layout asks for.
        expected: String,
        /// What there is.
        found: String,
    },
    /// A file's numbers are not those that were written.
    #[error("{} is damaged: its numbers' checksum is {found}, not {stored} ({})", path.display(), mend(path))]
    Checksum {
        /// The file.
        path: PathBuf,
        /// The checksum that was written with them.
        stored: String,
        /// That of what there is.
        found: String,
    },
    /// A line of a log does not hold the numbers that its columns ask for.
    #[error("{} is not a valid log ({})", path.display(), mend(path))]
    Csv {
        /// The file.
        path: PathBuf,
        /// Line, column and expectation.
        source: Box<csv::Error>,
    },
    /// A log has other columns.
    #[error("{}: expected the columns `{expected}`, found `{found}` ({})", path.display(), mend(path))]
    Header {
        /// The file.
        path: PathBuf,
        /// The columns of this kind of log.
        expected: String,
        /// The file's first line.
        found: String,
    },
    /// A cell of a stored table is no number.
    #[error("{}: {cell}: expected a finite number, found `{found}`", path.display())]
    Number {
        /// The file.
        path: PathBuf,
        /// Its column and row.
        cell: String,
        /// What it holds.
        found: String,
    },
    /// A record contradicts its place or its neighbours.
    #[error("{}: {key}: expected {expected}, found {found}; {advice}", path.display())]
    Mismatch {
        /// The file or folder.
        path: PathBuf,
        /// What disagrees: a key of `run.toml`, a tensor.
        key: &'static str,
        /// What the place or the neighbours ask for.
        expected: String,
        /// What there is.
        found: String,
        /// What can be done.
        advice: &'static str,
    },
    /// A path that no record has.
    #[error("{} is no record of a run: expected the folder <experiment>-<preset>/<row>/seed-<n>", dir.display())]
    NoRecord {
        /// The path.
        dir: PathBuf,
    },
    /// A record lacks a file.
    #[error("the record {} is incomplete: {file} is missing; put the file back from a copy, or make the \
         run again under another --out", dir.display())]
    Incomplete {
        /// The record's folder.
        dir: PathBuf,
        /// The missing file's name.
        file: &'static str,
    },
    /// A record exists already; records are never overwritten.
    #[error("the record {} exists and is never overwritten: remove it first, or choose another --out", dir.display())]
    Exists {
        /// The record's folder.
        dir: PathBuf,
    },
    /// A name cannot be a folder's.
    #[error("{what} `{name}`: expected letters, digits, `-`, `_` and `.`, beginning with a letter or digit")]
    Name {
        /// Whose name: `experiment`, `preset`, `row`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// There is nothing to make a table of.
    #[error(
        "no records under {}: expected <experiment>-<preset>/<row>/seed-<n>/ there, or a folder of an experiment or a row; \
         `divkd reproduce` makes them, `divkd eval` is for one seed's",
        root.display()
    )]
    NoRecords {
        /// The folder that was searched.
        root: PathBuf,
    },
    /// Stored predictions cannot be scored.
    #[error("cannot score {what}")]
    Score {
        /// The predictions and their split, or a row and its seed.
        what: String,
        /// The metric's complaint.
        source: metrics::Error,
    },
    /// A figure cannot be made into pixels.
    #[error("cannot draw the figure `{label}`: {what}")]
    Picture {
        /// The figure's title.
        label: String,
        /// The complaint.
        what: String,
    },
    /// A table format nobody knows.
    #[error("unknown table format `{0}`: expected term, csv, md or latex")]
    Format(String),
}

/// What can be done about a damaged file, by where it lies.
fn mend(path: &Path) -> &'static str {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    if folder == analysis::FOLDER {
        "remove it: `divkd analyze` makes it again where the weights are"
    } else if folder.starts_with("seed-") {
        "put it back from a copy, or remove the record's folder and make the run again"
    } else {
        "put it back from a copy"
    }
}

impl Error {
    /// An [`Error::Io`] maker for `map_err`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
