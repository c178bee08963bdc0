//! Which kernels compute convolutions.

use crate::error::{Error, Result};

/// What computes the convolutions that both cuDNN and kernels of this crate can: those over maps that are 3x3 and of stride 1,
/// in TF32 and bf16, on tensor cores of Ampere or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernels {
    /// Whichever is faster: measured for each shape when it is first met.
    Fastest,
    /// This crate's.
    Own,
    /// cuDNN's; without it, plain kernels.
    Library,
}

/// The variable of the environment that asks for one of them.
const NAME: &str = "DIVKD_CUDA_CONVOLUTIONS";

impl Kernels {
    /// What the variable `DIVKD_CUDA_CONVOLUTIONS` asks for: `own` or `cudnn`, and without it the fastest.
    ///
    /// # Errors
    /// Where it says something else.
    pub(crate) fn asked() -> Result<Self> {
        match std::env::var(NAME).as_deref() {
            Err(_) => Ok(Self::Fastest),
            Ok("own") => Ok(Self::Own),
            Ok("cudnn") => Ok(Self::Library),
            Ok(other) => Err(Error::State(format!("{NAME}={other}: it takes `own` or `cudnn`"))),
        }
    }

    /// Those that a device of compute capability `major` can run.
    pub(crate) fn on(self, major: i32) -> Self {
        if major < 8 { Self::Library } else { self }
    }
}
