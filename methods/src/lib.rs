//! The rows of the paper's table, one method a file.
//!
//! A [`Method`] says how a student is built and what one training step minimises. It touches no file and no network.
//! To add one: a file with a settings struct that implements [`Method`], and a line in [`registry()`].

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

pub mod batch;
pub mod be;
pub mod be_kd;
pub mod be_kd_conf_ods;
pub mod be_kd_gaussian;
pub mod be_kd_ods;
pub mod distill;
pub mod kd;
pub mod latent;
pub mod latent_be;
pub mod latent_be_tdiv_sdiv;
pub mod method;
pub mod micro_batch;
pub mod noise;
pub mod optimiser;
pub mod perturb;
pub mod registry;
mod settings;
pub mod teacher;

pub use batch::{Batch, Loss, Step};
pub use method::{Method, Recipe};
pub use noise::{Noise, Streams, Under};
pub use optimiser::Optimiser;
pub use registry::{Entry, find, registry};
