//! CUDA devices: which there are, and what they are.

pub use crate::engine::cuda::replay::{refusals, replays};
pub use crate::ops::cuda::ceilings::{Ceilings, ceilings};
pub use crate::ops::cuda::device::{close, count, describe, open, open_with, release};
pub use crate::ops::cuda::kernels::Kernels;
#[cfg(feature = "cudnn")]
pub use crate::ops::cuda::kernels::{Timed, take_timed};
pub use crate::ops::cuda::memory::peak_mib;
