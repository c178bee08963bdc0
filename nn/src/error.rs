//! What can go wrong in this crate.

use std::path::PathBuf;

/// An error of the training engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A network's name or settings make no network.
    #[error("network `{name}`: {reason}")]
    Spec {
        /// The name as given.
        name: String,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// A tensor has another shape than the operation needs.
    #[error("{operation}: expected {expected}, found {found:?}")]
    Shape {
        /// The operation.
        operation: &'static str,
        /// The shape that it needs.
        expected: String,
        /// The shape that it was given.
        found: Vec<usize>,
    },
    /// Named tensors that do not fit the network they are loaded into.
    #[error("the tensors do not fit the network: {0}")]
    State(String),
    /// A variable of the environment with a value that it does not take.
    #[error("{name}={value}: {reason}")]
    Variable {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it takes, or what its value needs.
        reason: &'static str,
    },
    /// A file that cannot be read or written.
    #[error("cannot read or write {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A checkpoint with a content that is not understood.
    #[error("{path}: {reason}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// Result with this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(error) => error,
            other => candle_core::Error::wrap(other),
        }
    }
}
