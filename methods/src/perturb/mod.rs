//! Perturbations of training images. All work on pixels in [0, 1] and clip to that range.

mod gaussian;
mod ods;

pub use gaussian::gaussian;
pub use ods::{Directions, ods};

use candle_core::Tensor;
use nn::Result;

/// Grey levels: step sizes are in 1/255.
const LEVELS: f64 = 255.0;

/// clip(images + step) to [0, 1], without a gradient.
fn clip_sum(images: &Tensor, step: &Tensor) -> Result<Tensor> {
    Ok((images + step)?.clamp(0.0, 1.0)?.detach())
}
