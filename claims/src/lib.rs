//! Claims: one process at a time does a piece of work in a folder that many machines share.
//!
//! Made for file systems where locks do not hold (NFS): see [`Claims::take`] for what is relied on instead.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod claim;
mod owner;

use std::io;
use std::path::PathBuf;

pub use claim::{Attempt, Claim, Claims, Holder, STALE, holder};
pub use owner::{Owner, job};

/// Result of this crate's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Every failure of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder of a claim cannot be read or written; the source says why.
    #[error("cannot claim {}; make the folder writable and leave it some space, or name another folder", dir.display())]
    Io {
        /// The folder of the claim.
        dir: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process took this one for dead.
    #[error("another process took over {} while this one did not answer: this one stops", dir.display())]
    TakenOver {
        /// The folder of the claim.
        dir: PathBuf,
    },
}
