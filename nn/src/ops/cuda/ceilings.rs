//! What a device reaches at best: its matrix multiplication and its memory, to hold training steps against.

use std::time::Instant;

use candle_core::{DType, Device};
use random::Stream;

use super::memory::forget_peak;
use super::open::arena;
use super::{draws, filled};
use crate::error::Result;
use crate::precision::Precision;

/// Rows and columns of the matrices.
const SIZE: usize = 8192;
/// Bytes that are copied at a time.
const COPIED: usize = 1 << 30;
/// Repetitions that a time is the mean of, after one that is not timed.
const REPETITIONS: u32 = 8;

/// Measured rates of a device.
#[derive(Clone, Copy, Debug)]
pub struct Ceilings {
    /// 10^9 floating-point operations a second of a square matrix multiplication (a multiply-add is two).
    pub gflops: f64,
    /// 10^9 bytes a second, read and written, of a copy on the device.
    pub gbytes_per_s: f64,
}

/// Measures a CUDA device, with factors in `precision`. The memory that this takes is forgotten by
/// [`peak_mib`](super::memory::peak_mib).
///
/// # Errors
/// Where it is no CUDA device, or has less than some 3 GiB free.
pub fn ceilings(device: &Device, precision: Precision) -> Result<Ceilings> {
    let dtype = if precision == Precision::Bf16 { DType::BF16 } else { DType::F32 };
    // Of random values: factors that are all alike take less power, and the clock stays higher than a step's would.
    let keyed = draws::Keyed { stream: Stream::new(0, "ceilings"), epoch: 0, first: 0 };
    let device_of = device.as_cuda_device()?;
    let matrix = filled(device_of, (SIZE, SIZE), |backend, to| {
        // SAFETY: `to` has room for every value.
        unsafe { draws::uniform(backend, keyed, (-1.0, 1.0), (SIZE, SIZE), to) }
    })?
    .to_dtype(dtype)?;
    candle_core::cuda::set_gemm_reduced_precision_f32(precision == Precision::Tf32);
    let product = seconds(device, || {
        matrix.matmul(&matrix)?;
        Ok(())
    });
    candle_core::cuda::set_gemm_reduced_precision_f32(false);
    drop(matrix);
    let copy = {
        let arena = arena(device_of)?.private();
        let (from, to) = (arena.take(COPIED)?, arena.take(COPIED)?);
        seconds(device, || arena.backend().copy(from.at(), to.at(), COPIED))?
    };
    device.synchronize()?;
    forget_peak(device_of.cuda_stream().context())?;
    let operations = 2.0 * (SIZE as f64).powi(3);
    Ok(Ceilings { gflops: operations / product? / 1e9, gbytes_per_s: 2.0 * COPIED as f64 / copy / 1e9 })
}

fn seconds(device: &Device, work: impl Fn() -> Result<()>) -> Result<f64> {
    work()?;
    device.synchronize()?;
    let start = Instant::now();
    for _ in 0..REPETITIONS {
        work()?;
    }
    device.synchronize()?;
    Ok(start.elapsed().as_secs_f64() / f64::from(REPETITIONS))
}
