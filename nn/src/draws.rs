//! Random tensors: the same draws on every device, made where they are used.

use candle_core::{Device, Tensor};
use random::Stream;
use rayon::prelude::*;

use crate::error::Result;

/// Draws keyed by stream, epoch and row: row r of a tensor takes those at index `first` + r.
#[derive(Clone, Copy, Debug)]
pub struct Keyed {
    /// Seed and name.
    pub stream: Stream,
    /// Epoch, from 1.
    pub epoch: u32,
    /// Index of the first row.
    pub first: u64,
}

/// U(low, high) in a tensor of `shape`, whose first dimension are the rows. The bits do not depend on the device.
///
/// # Errors
/// Where the device fails.
pub fn uniform(keyed: Keyed, (low, high): (f32, f32), shape: &[usize], device: &Device) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return cuda::fill(device, shape, |backend, sizes, to| {
            // SAFETY: `fill` makes room for the shape.
            unsafe { crate::ops::cuda::draws::uniform(backend, keyed.on_device(), (low, high), sizes, to) }
        });
    }
    let per_row = per_row(shape);
    let mut values = vec![0.0_f32; shape.iter().product()];
    for (row, values) in values.chunks_exact_mut(per_row).enumerate() {
        let mut draws = keyed.stream.draws(keyed.epoch, keyed.first + row as u64);
        values.fill_with(|| draws.uniform_in(low, high));
    }
    Ok(Tensor::from_vec(values, shape, device)?)
}

/// N(0, 1) likewise. A device's logarithm and cosine differ from the CPU's by rounding, in f64, at most.
///
/// # Errors
/// Where the device fails.
pub fn normal(keyed: Keyed, shape: &[usize], device: &Device) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        return cuda::fill(device, shape, |backend, sizes, to| {
            // SAFETY: as above.
            unsafe { crate::ops::cuda::draws::normal(backend, keyed.on_device(), sizes, to) }
        });
    }
    let mut values = vec![0.0_f32; shape.iter().product()];
    values.par_chunks_mut(per_row(shape)).enumerate().for_each(|(row, values)| {
        let mut draws = keyed.stream.draws(keyed.epoch, keyed.first + row as u64);
        values.fill_with(|| draws.normal());
    });
    Ok(Tensor::from_vec(values, shape, device)?)
}

fn per_row(shape: &[usize]) -> usize {
    shape.iter().skip(1).product::<usize>().max(1)
}

#[cfg(feature = "cuda")]
mod cuda {
    use candle_core::op::BackpropOp;
    use candle_core::{CudaDevice, CudaStorage, Storage, Tensor};

    use super::Keyed;
    use crate::error::Result;
    use crate::ops::cuda::backend::Backend;
    use crate::ops::cuda::{device, device_address, draws};

    impl Keyed {
        pub(super) fn on_device(self) -> draws::Keyed {
            draws::Keyed { stream: self.stream, epoch: self.epoch, first: self.first }
        }
    }

    /// An f32 tensor of `shape` that `fill` writes, given rows, values a row, and the address.
    pub(super) fn fill(
        device: &CudaDevice,
        shape: &[usize],
        fill: impl FnOnce(&dyn Backend, (usize, usize), u64) -> Result<()>,
    ) -> Result<Tensor> {
        let per_row = super::per_row(shape);
        let len: usize = shape.iter().product();
        // SAFETY: `fill` writes every value.
        let slice = unsafe { device.alloc::<f32>(len)? };
        let address = device_address(&slice, &device.cuda_stream());
        fill(device::arena(device)?.backend(), (len / per_row, per_row), address)?;
        let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, device.clone()));
        Ok(Tensor::from_storage(storage, shape, BackpropOp::none(), false))
    }
}
