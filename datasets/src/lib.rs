//! The data sets of the paper, as images in memory: where they come from, how they are split, how batches are made.
//!
//! Three sources stand behind one function, [`load`]: the Hugging Face hub (pinned revisions, sizes and hashes checked
//! here), a local folder in the hub's layout, and images that our own code makes from a seed ([`synthetic`]). This crate
//! knows no method, no network and no tensor library.
//!
//! * [`catalog`]: which data sets there are: files, revisions, hashes, columns, classes, channel statistics
//! * [`load`], [`fetch`], [`verify`]: the three verbs
//! * [`hub`]: downloads through `hf-hub`, checked before they enter the shared cache
//! * [`image_table`], [`decode`]: parquet rows and PNG or JPEG bytes to planar `u8`
//! * [`split`]: training, validation and test rows; class-balanced subsets
//! * [`augment`], [`loader`]: pad-crop-flip and batches, equal on any number of threads

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

pub mod augment;
pub mod catalog;
mod channels;
mod dataset;
pub mod decode;
mod error;
mod fetch;
mod hash;
pub mod hub;
pub mod image_table;
mod load;
pub mod loader;
mod options;
mod pool;
pub mod split;
pub mod synthetic;
mod verify;

pub use catalog::{Id, Spec};
pub use channels::Channels;
pub use dataset::{Dataset, Provenance, Splits};
pub use error::{Error, Result};
pub use fetch::{Fetched, fetch, look};
pub use load::load;
pub use loader::{Batch, Loader};
pub use options::{LoadOptions, OnProgress, Progress, Source};
pub use verify::{FileReport, HashCheck, verify};
