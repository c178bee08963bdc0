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
        let sizes = (shape.iter().product::<usize>() / per_row(shape), per_row(shape));
        return crate::ops::cuda::filled(device, shape, |backend, to| {
            // SAFETY: there is room for the shape.
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
        let sizes = (shape.iter().product::<usize>() / per_row(shape), per_row(shape));
        return crate::ops::cuda::filled(device, shape, |backend, to| {
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
impl Keyed {
    fn on_device(self) -> crate::ops::cuda::draws::Keyed {
        crate::ops::cuda::draws::Keyed { stream: self.stream, epoch: self.epoch, first: self.first }
    }
}
