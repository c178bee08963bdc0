//! What can go wrong, said so that the user knows which file and row, what was expected, what was found, what to do.

use std::path::{Path, PathBuf};

use crate::Id;
use crate::channels::Channels;
use crate::hub::RemoteFile;

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is no data set.
    #[error("unknown data set `{name}`; known: {}", Id::ALL.map(Id::name).join(", "))]
    UnknownDataset {
        /// What was asked for.
        name: String,
    },
    /// A request that cannot be met whatever the files hold.
    #[error("{dataset}: {problem}")]
    Request {
        /// The data set.
        dataset: Id,
        /// What is wrong with the request and what would be right.
        problem: String,
    },
    /// The operating system refused a file operation.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The turn to download a file cannot be taken.
    #[error(
        "the hub's cache cannot be used: name another folder by HF_HOME or HF_HUB_CACHE, or one that has the files by --data-dir"
    )]
    Claim(#[from] claims::Error),
    /// A file of a data folder is not there.
    #[error(
        "{}: no such file; a data folder holds the hub's layout, <repository id>/<path>: \
         here {repo}/{file} under the folder given as --data-dir", path.display()
    )]
    MissingFile {
        /// The path that was tried.
        path: PathBuf,
        /// Repository id.
        repo: String,
        /// Path inside the repository.
        file: String,
    },
    /// A file is longer than anything this crate reads into memory.
    #[error("{}: {bytes} bytes, more than the limit of {limit}: not one of the data sets' files", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
        /// The longest that is read.
        limit: u64,
    },
    /// A parquet file (or one of its row groups) cannot be read.
    #[error(
        "{}{}: {problem}; the file is damaged or no image table: fetch or copy it again",
        path.display(), in_group(*row_group)
    )]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Row group, counted from 0, where one was being read.
        row_group: Option<usize>,
        /// What the reader said.
        problem: String,
    },
    /// A column is missing or has another type.
    #[error("{}: expected column {expected}; found {found}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// Column and type that the data set has.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// A row cannot be used.
    #[error("{}: row {row} (row group {row_group}, row {row_in_group} of it): {problem}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Row group, counted from 0.
        row_group: usize,
        /// Row in the file, counted from 0.
        row: usize,
        /// Row in its row group, counted from 0.
        row_in_group: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// A file without a single row.
    #[error("{}: no rows", path.display())]
    NoRows {
        /// The file.
        path: PathBuf,
    },
    /// Two files of a data set hold the same bytes.
    #[error(
        "{} and {} are the same file (sha256 {sha256}): training and test rows must differ",
        first.display(), second.display()
    )]
    SameFile {
        /// One of the two.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// Their common hash.
        sha256: String,
    },
    /// Fewer (or more) rows than the protocol's where exactly those are required.
    #[error(
        "{dataset}: {part} has {found} rows, the full protocol has {expected}; use a reduced preset (laptop, smoke), \
         or fetch the full data: `divkd data fetch {dataset}`"
    )]
    Partial {
        /// The data set.
        dataset: Id,
        /// Which file: "the training file" or "the test file".
        part: &'static str,
        /// Rows there are.
        found: usize,
        /// Rows of the protocol.
        expected: usize,
    },
    /// The images are not those that the catalog describes.
    #[error(
        "{}: {found} of the images; the catalog says {expected}: these are other images, or the constants of {dataset} in \
         datasets/src/catalog.rs are wrong", path.display()
    )]
    Statistics {
        /// The data set.
        dataset: Id,
        /// The training file.
        path: PathBuf,
        /// What its images have.
        found: Box<Channels>,
        /// What the catalog has.
        expected: Box<Channels>,
    },
    /// A file's bytes are not the expected ones.
    #[error("{}: expected {expected}, found {found}{advice}", path.display())]
    Mismatch {
        /// The file, on disk.
        path: PathBuf,
        /// Expected length or hash.
        expected: String,
        /// What is there.
        found: String,
        /// What to do, beginning with punctuation.
        advice: String,
    },
    /// A file is not cached and the network must not be used.
    #[error(
        "{file} is not in the cache {} and the network is not to be used (HF_HUB_OFFLINE, or a look at the cache alone); \
         fetch it where there is a network (`divkd data fetch`) and copy the cache, \
         or put the file into a folder as {} and give that as --data-dir", cache.display(), file.in_folder()
    )]
    Offline {
        /// Which file of which repository and revision.
        file: Box<RemoteFile>,
        /// The cache that was searched.
        cache: PathBuf,
    },
    /// The hub's client cannot be set up, or the request makes no sense.
    #[error("cannot use the hub: {problem}; --data-dir takes the files from a folder instead")]
    HubSetup {
        /// What is wrong.
        problem: String,
    },
    /// The hub did not give the file.
    #[error(
        "{file} from {endpoint}: {problem}; {advice}; without a network, put the file into a folder as {} \
         and give that as --data-dir", file.in_folder()
    )]
    Hub {
        /// Which file of which repository and revision.
        file: Box<RemoteFile>,
        /// The server, without credentials.
        endpoint: String,
        /// What happened, after how many attempts.
        problem: String,
        /// What to do.
        advice: String,
    },
}

impl Error {
    /// For `map_err` on file operations: `fs::read(path).map_err(Error::io("read", path))`.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.to_owned();
        move |source| Error::Io { action, path, source }
    }
}

fn in_group(row_group: Option<usize>) -> String {
    row_group.map(|g| format!(", row group {g}")).unwrap_or_default()
}
