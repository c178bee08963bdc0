//! The training engine: networks, losses, optimiser, parameters and checkpoints, on candle.
//!
//! A [`Network`] turns images (B, C, H, W) in [0, 1] into logits (M, B, K); its forward and backward pass are one candle
//! operator over hand-written kernels ([`ops`]). So is each loss around it, and what perturbs images is a chain of a few of candle's
//! on the CPU and a kernel on CUDA.

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

// The test files that unit tests share name the crate as users do.
#[cfg(test)]
extern crate self as nn;

pub mod beside;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod draws;
pub(crate) mod engine;
pub mod error;
#[cfg(feature = "cuda")]
mod fused;
pub mod layer;
pub mod loss;
pub mod member;
pub mod network;
pub mod official;
pub mod ops;
pub mod params;
mod pickle;
pub mod pixels;
pub mod precision;
pub mod profile;
#[cfg(feature = "cuda")]
pub mod resident;
pub mod schedule;
pub mod sgd;
mod softmax;
pub mod spec;
pub mod state;
pub mod threads;
mod values;

pub use beside::Beside;
pub use error::{Error, Result};
pub use network::{Mode, Network};
pub use params::Group;
pub use precision::Precision;
pub use schedule::Schedule;
pub use sgd::{Sgd, SgdSettings};
pub use spec::{Family, NetworkSpec, Shortcut};
pub use state::NamedTensor;
