//! What a device reaches at best: its matrix multiplication and its memory, to hold training steps against.

use std::time::Instant;

use candle_core::{DType, Device};
use random::Stream;

use super::memory::forget_peak;
use super::open::arena;
use super::{draws, filled};
use crate::error::Result;
use crate::precision::Precision;

/// Rows and columns of the matrices: the first that take long enough, or the last.
const SIZES: [usize; 5] = [512, 1024, 2048, 4096, 8192];
/// Bytes that are copied at a time, likewise.
const COPIED: [usize; 4] = [1 << 24, 1 << 26, 1 << 28, 1 << 30];
/// Seconds that are long enough: many times what a launch takes.
const LONG: f64 = 0.01;
/// Repetitions that a time is the mean of.
const REPETITIONS: u32 = 8;
/// Seconds over which times are taken at the size that is long enough: a device that has nothing to do lowers its clock.
const WARM: f64 = 0.5;

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
    candle_core::cuda::set_gemm_reduced_precision_f32(precision == Precision::Tf32);
    let flops = rate(device, &SIZES, |size| product(device, precision, size));
    candle_core::cuda::set_gemm_reduced_precision_f32(false);
    let device_of = device.as_cuda_device()?;
    let arena = arena(device_of)?.private();
    let bytes_per_s = rate(device, &COPIED, |bytes| {
        let (from, to) = (arena.take(bytes)?, arena.take(bytes)?);
        let arena = &arena;
        Ok((2.0 * bytes as f64, move || arena.backend().copy(from.at(), to.at(), bytes)))
    })?;
    drop(arena);
    device.synchronize()?;
    forget_peak(device_of.cuda_stream().context())?;
    Ok(Ceilings { gflops: flops? / 1e9, gbytes_per_s: bytes_per_s / 1e9 })
}

/// Operations of a product of square matrices, and the product.
fn product(
    device: &Device,
    precision: Precision,
    size: usize,
) -> Result<(f64, impl Fn() -> Result<()> + use<>)> {
    let dtype = if precision == Precision::Bf16 { DType::BF16 } else { DType::F32 };
    // Of random values: factors that are all alike take less power, and the clock stays higher than a step's would.
    let keyed = draws::Keyed { stream: Stream::new(0, "ceilings"), epoch: 0, first: 0 };
    let matrix = filled(device.as_cuda_device()?, (size, size), |backend, to| {
        // SAFETY: `to` has room for every value.
        unsafe { draws::uniform(backend, keyed, (-1.0, 1.0), (size, size), to) }
    })?
    .to_dtype(dtype)?;
    let multiply = move || {
        matrix.matmul(&matrix)?;
        Ok(())
    };
    Ok((2.0 * (size as f64).powi(3), multiply))
}

/// What work does a second, at the first of `sizes` at which it is long enough; `of_size` gives its amount and the work.
fn rate<W: Fn() -> Result<()>>(
    device: &Device,
    sizes: &[usize],
    of_size: impl Fn(usize) -> Result<(f64, W)>,
) -> Result<f64> {
    let mut rate = 0.0;
    for (index, &size) in sizes.iter().enumerate() {
        let (amount, work) = of_size(size)?;
        let timed = || -> Result<f64> {
            let start = Instant::now();
            for _ in 0..REPETITIONS {
                work()?;
            }
            device.synchronize()?;
            Ok(start.elapsed().as_secs_f64())
        };
        // The first run may load its code.
        work()?;
        device.synchronize()?;
        if timed()? < LONG && index + 1 < sizes.len() {
            continue;
        }
        let begun = Instant::now();
        let mut least = timed()?;
        while begun.elapsed().as_secs_f64() < WARM {
            least = least.min(timed()?);
        }
        rate = amount * f64::from(REPETITIONS) / least;
        break;
    }
    Ok(rate)
}
