//! What a caller can say about loading.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::hub;

/// Where the examples come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The Hugging Face hub, or its cache.
    Hub,
    /// A folder in the hub's layout, `<repository id>/<path>`. Its files may differ from the hub's: hashes are recorded, and
    /// what is said about them tells whether they are the published ones.
    Folder(PathBuf),
    /// Images made from this seed.
    Synthetic(u64),
}

/// How to load. The default is the full protocol with whatever rows there are.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Decides drawn splits and subsets. Keep it equal over the seeds of an experiment so that they share their data.
    pub seed: u64,
    /// Training rows to keep, class-balanced; all of them where none or more than there are.
    pub train_rows: Option<usize>,
    /// Validation rows to keep, likewise.
    pub val_rows: Option<usize>,
    /// Test rows to keep, likewise.
    pub test_rows: Option<usize>,
    /// Height and width to average images down to; must divide the data set's own. Synthetic images are made at it.
    pub image: Option<usize>,
    /// Refuse files whose row counts are not the protocol's.
    pub require_full: bool,
    /// How the hub is reached.
    pub hub: hub::Options,
    /// Told about downloads and decoding.
    pub progress: Option<OnProgress>,
}

/// A progress callback. Called from several threads; should return quickly.
#[derive(Clone)]
pub struct OnProgress(Arc<dyn Fn(&Progress<'_>) + Send + Sync>);

impl OnProgress {
    /// Wraps a function.
    pub fn new(call: impl Fn(&Progress<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(call))
    }

    /// Reports one event.
    pub fn report(&self, progress: &Progress<'_>) {
        (self.0)(progress);
    }
}

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnProgress(..)")
    }
}

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress<'a> {
    /// Bytes of a file that have arrived, counted from its beginning (an interrupted download starts above 0).
    Download {
        /// Path in the repository.
        file: &'a str,
        /// Bytes so far.
        done: u64,
        /// Bytes in all, where known.
        total: Option<u64>,
    },
    /// Images of a file that are decoded.
    Decode {
        /// Path in the repository.
        file: &'a str,
        /// Images so far.
        done: usize,
        /// Images in all.
        total: usize,
    },
    /// Something the user should read, such as a retry.
    Note(&'a str),
}
