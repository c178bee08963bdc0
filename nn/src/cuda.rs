//! CUDA devices: which there are, and what they are.

pub use crate::engine::cuda::stage::{refusals, replays};
pub use crate::engine::cuda::trial::{Trial, open_trials, take_trials};
pub use crate::ops::cuda::backend::Manner;
pub use crate::ops::cuda::ceilings::{Ceilings, ceilings};
#[cfg(feature = "cudnn")]
pub use crate::ops::cuda::cudnn::Ways;
pub use crate::ops::cuda::kernels::Kernels;
#[cfg(feature = "cudnn")]
pub use crate::ops::cuda::kernels::{Timed, take_timed};
pub use crate::ops::cuda::memory::peak_mib;
pub use crate::ops::cuda::open::{close, count, describe, open, open_with, release};
#[cfg(feature = "cudnn")]
pub use crate::ops::cuda::open::{set_ways, ways};
