//! Perturbations of training images. All work on pixels in [0, 1] and clip to that range.

mod gaussian;
mod ods;
mod tdiv_sdiv;

pub use gaussian::gaussian;
pub use ods::{Directions, ods};
pub use tdiv_sdiv::tdiv_sdiv;

use candle_core::Tensor;
use nn::Result;

/// Grey levels: step sizes are in 1/255.
const LEVELS: f64 = 255.0;

/// Smallest length that a gradient is divided by: a zero gradient gives a zero direction, never NaN.
const MIN_NORM: f64 = 1e-12;

/// g / max(||g||_2, 1e-12) for each example of a gradient (B, C, H, W).
fn unit(gradient: &Tensor) -> Result<Tensor> {
    let norm = gradient.flatten_from(1)?.sqr()?.sum_keepdim(1)?.sqrt()?.maximum(MIN_NORM)?;
    let norm = norm.reshape((gradient.dim(0)?, 1, 1, 1))?;
    Ok(gradient.broadcast_div(&norm)?.detach())
}

/// sqrt(D), D = C * H * W, of images (B, C, H, W).
fn root_dimension(images: &Tensor) -> f64 {
    (images.elem_count() as f64 / images.dims().first().copied().unwrap_or(1).max(1) as f64).sqrt()
}

/// clip(images + step) to [0, 1], without a gradient.
fn clip_sum(images: &Tensor, step: &Tensor) -> Result<Tensor> {
    Ok((images + step)?.clamp(0.0, 1.0)?.detach())
}
