//! The progress of a plan as one flat folder of a few files, to be carried to another machine.
//!
//! `pack.toml` is the [`Index`]: every packed file with its path under the folder of records, its size and SHA-256, and what
//! did not fit. The files themselves, each compressed by zstd, stand one after another in `part-1.zst`, `part-2.zst`, .., of
//! which the index has sizes and hashes too. A folder holds at most [`Limits::files`] files, none larger than
//! [`Limits::bytes`].
//!
//! What is packed first, as long as there is room (`rank`): what was asked for (`plan.toml`); finished records without their
//! models; the analyses; the models of teachers whose seed is not finished, which its students need; the newest checkpoint of
//! each unfinished run; all other models.

mod conflicts;
mod find;
mod rank;
mod slot;
mod unpack;
mod write;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use slot::Slot;
pub use unpack::{Unpacked, unpack};
pub use write::{Packed, pack};

/// The file of the index.
pub const INDEX: &str = "pack.toml";

/// Version of the format.
const FORMAT: u32 = 1;

/// No packed file is larger: more than a checkpoint of the largest network, and less than would fill a machine's memory.
const LARGEST: u64 = 1 << 30;

/// Nor are all files together: they are unpacked in memory.
const LARGEST_IN_ALL: u64 = 4 << 30;

/// How large a packed folder may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Files in the folder, the index included.
    pub files: usize,
    /// Bytes of a file.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { files: 8, bytes: 16 << 20 }
    }
}

/// What is in a packed folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Version of the format.
    format: u32,
    /// The files that hold the content, in order.
    #[serde(default)]
    part: Vec<Part>,
    /// What they hold, in order.
    #[serde(default)]
    file: Vec<Entry>,
    /// What did not fit.
    #[serde(default)]
    left_out: Vec<LeftOut>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    name: String,
    bytes: u64,
    sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    path: String,
    /// As it is unpacked.
    bytes: u64,
    sha256: String,
    /// As it stands in the parts.
    packed: u64,
}

/// A file that did not fit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeftOut {
    /// Its path under the folder of records.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// The name of part `number`, from 1.
fn part_name(number: usize) -> String {
    format!("part-{number}.zst")
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
