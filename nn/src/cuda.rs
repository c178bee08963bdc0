//! CUDA devices: which there are, and what they are.

use candle_core::Device;

pub use crate::engine::cuda::replay::replays;
use crate::error::Result;
pub use crate::ops::cuda::ceilings::{Ceilings, ceilings};
pub use crate::ops::cuda::device::{count, describe, release};
pub use crate::ops::cuda::kernels::Kernels;
#[cfg(feature = "cudnn")]
pub use crate::ops::cuda::kernels::{Timed, take_timed};
pub use crate::ops::cuda::memory::peak_mib;

/// Opens device `ordinal` and compiles the kernels for it. The device belongs to the thread that opens it.
///
/// # Errors
/// Where there is no driver or no such device, where a library is missing, or the kernels do not compile.
pub fn open(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda(ordinal)?;
    crate::ops::cuda::device::arena(device.as_cuda_device()?)?;
    Ok(device)
}

/// [`open`] with a choice of what computes convolutions, whatever `DIVKD_CUDA_CONVOLUTIONS` says.
///
/// # Errors
/// As there.
pub fn open_with(ordinal: usize, kernels: Kernels) -> Result<Device> {
    let device = Device::new_cuda(ordinal)?;
    crate::ops::cuda::device::prepare(device.as_cuda_device()?, kernels)?;
    Ok(device)
}
