//! Steps in the space of images, in f32. CUDA has a kernel for each.

use candle_core::Tensor;

use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
use crate::fused;
use crate::ops::cpu::rows;
use crate::values::with_values;

/// Smallest length that a gradient is divided by: a zero gradient gives a zero direction, never NaN.
const MIN_NORM: f64 = 1e-12;

/// g / max(||g||_2, 1e-12) for each example of a gradient (B, C, H, W) in f32, without a gradient of its own.
///
/// # Errors
/// Candle's, where the gradient is of another type or the device fails.
pub fn unit(gradient: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if gradient.device().is_cuda() {
        return fused::unit(gradient, MIN_NORM);
    }
    let gradient = gradient.contiguous()?;
    let dimension = gradient.elem_count() / gradient.dim(0)?.max(1);
    let made = with_values(&gradient, |values| Ok(rows::unit(values, dimension, MIN_NORM)))?;
    Ok(Tensor::from_vec(made, gradient.shape(), gradient.device())?)
}

/// clip(x + size * d) to [0, 1], without a gradient; with `factors` (B,) the size is multiplied by each example's.
///
/// # Errors
/// [`Error::Shape`] where images and directions, both (B, C, H, W), differ in shape, or there is not one factor an image.
pub fn clipped_step(
    images: &Tensor,
    directions: &Tensor,
    size: f64,
    factors: Option<&Tensor>,
) -> Result<Tensor> {
    let batch = images.dim(0)?;
    let wrong = |expected: String, found: &Tensor| {
        Err(Error::Shape { operation: "clipped_step", expected, found: found.dims().to_vec() })
    };
    if directions.dims() != images.dims() {
        return wrong(format!("directions {:?}", images.dims()), directions);
    }
    if let Some(factors) = factors.filter(|factors| factors.dims() != [batch]) {
        return wrong(format!("factors ({batch},)"), factors);
    }
    #[cfg(feature = "cuda")]
    if images.device().is_cuda() {
        return fused::clipped_step(images, directions, size, factors);
    }
    let step = match factors {
        None => (directions * size)?,
        Some(factors) => directions.broadcast_mul(&(factors * size)?.reshape((batch, 1, 1, 1))?)?,
    };
    Ok((images + step)?.clamp(0.0, 1.0)?.detach())
}
