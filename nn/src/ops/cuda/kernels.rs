//! What the environment says of how passes are computed.

#[cfg(feature = "cudnn")]
use std::sync::{Mutex, PoisonError};

use super::backend::Manner;
use crate::error::{Error, Result};

/// What computes convolutions in TF32 and bf16. Kernels of this crate can those over maps that are 3x3 and of stride 1, on tensor
/// cores of Ampere or later; cuDNN can all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kernels {
    /// Whichever is faster: measured for each shape when it is first met.
    Fastest,
    /// This crate's where they fit.
    Own,
    /// cuDNN's; without it, plain kernels.
    Library,
    /// The engines of cuDNN's graph API, where it has one.
    Engines,
    /// cuDNN's fastest, in f32 too, whether or not it gives the same bits each time: what determinism costs is how much slower
    /// [`Kernels::Library`] is.
    Any,
}

/// The variable of the environment that asks for one of them.
const NAME: &str = "DIVKD_CUDA_CONVOLUTIONS";

impl Kernels {
    /// What the variable `DIVKD_CUDA_CONVOLUTIONS` asks for: `own`, `cudnn`, `engines` or `any`, and without it the
    /// fastest.
    ///
    /// # Errors
    /// Where it says something else.
    pub(crate) fn asked() -> Result<Self> {
        match std::env::var(NAME).as_deref() {
            Err(_) => Ok(Self::Fastest),
            Ok("own") => Ok(Self::Own),
            Ok("cudnn") => Ok(Self::Library),
            Ok("engines") => Ok(Self::Engines),
            Ok("any") => Ok(Self::Any),
            Ok(other) => Err(refused(NAME, other, "it takes `own`, `cudnn`, `engines` or `any`")),
        }
    }

    /// Those that a device of compute capability `major` can run.
    pub(crate) fn on(self, major: i32) -> Self {
        if major < 8 && self.has_own() { Self::Library } else { self }
    }

    /// Whether this crate's are among them.
    pub(super) fn has_own(self) -> bool {
        matches!(self, Self::Fastest | Self::Own)
    }
}

/// The manners in which passes of small networks are recorded, of which the fastest is launched, as the variable
/// `DIVKD_CUDA_GRAPHS` asks for: `straight`, `branching`, `overlapping`, or `off` for none; without it, all that a device of
/// compute capability `major` can.
///
/// # Errors
/// Where it says something else, or what the device cannot.
pub(super) fn manners(major: i32) -> Result<&'static [Manner]> {
    const NAME: &str = "DIVKD_CUDA_GRAPHS";
    const ALL: [Manner; 3] = [Manner::Straight, Manner::Branching, Manner::Overlapping];
    let overlaps = major >= 9;
    match std::env::var(NAME).as_deref() {
        Err(_) => Ok(if overlaps { &ALL } else { &ALL[..2] }),
        Ok("off") => Ok(&[]),
        Ok("straight") => Ok(&ALL[..1]),
        Ok("branching") => Ok(&ALL[1..2]),
        Ok("overlapping") if overlaps => Ok(&ALL[2..]),
        Ok("overlapping") => Err(refused(NAME, "overlapping", "it needs a device of compute capability 9")),
        Ok(other) => Err(refused(NAME, other, "it takes `straight`, `branching`, `overlapping` or `off`")),
    }
}

/// Whether cuDNN's calls for the members of a BatchEnsemble run beside each other: unless the variable `DIVKD_CUDA_MEMBERS` is
/// `in-turn`. The bits are the same.
///
/// # Errors
/// Where it says something else.
#[cfg(feature = "cudnn")]
pub(super) fn spreads() -> Result<bool> {
    const NAME: &str = "DIVKD_CUDA_MEMBERS";
    match std::env::var(NAME).as_deref() {
        Err(_) | Ok("beside") => Ok(true),
        Ok("in-turn") => Ok(false),
        Ok(other) => Err(refused(NAME, other, "it takes `beside` or `in-turn`")),
    }
}

fn refused(name: &'static str, value: &str, reason: &'static str) -> Error {
    Error::Variable { name, value: value.to_owned(), reason }
}

/// How long one of the sums of a convolution takes, for all members.
#[cfg(feature = "cudnn")]
#[derive(Clone, Debug)]
pub struct Timed {
    /// Sum, shape, members and precision.
    pub what: String,
    /// Milliseconds by cuDNN.
    pub library: f32,
    /// The algorithm or engine of cuDNN's that took them.
    pub by: String,
    /// Milliseconds by this crate's kernels, where they fit.
    pub own: Option<f32>,
    /// Whether these were chosen.
    pub is_own: bool,
}

#[cfg(feature = "cudnn")]
static TIMED: Mutex<Vec<Timed>> = Mutex::new(Vec::new());

/// Notes what a choice was made by.
#[cfg(feature = "cudnn")]
pub(super) fn note(timed: Timed) {
    TIMED.lock().unwrap_or_else(PoisonError::into_inner).push(timed);
}

/// What this process has measured since the last call to choose the fastest kernels, in the order in which it met the shapes.
#[cfg(feature = "cudnn")]
pub fn take_timed() -> Vec<Timed> {
    std::mem::take(&mut *TIMED.lock().unwrap_or_else(PoisonError::into_inner))
}
