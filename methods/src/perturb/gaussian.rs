//! Gaussian noise.

use candle_core::Tensor;
use nn::Result;
use nn::pixels::clipped_step;

use super::LEVELS;
use crate::noise::Noise;

/// clip(x + eta / 255 * z), z ~ N(0, 1) per pixel. `images` (B, C, H, W) in [0, 1], `eta` in 1/255.
///
/// # Errors
/// Candle's, where the device fails.
pub fn gaussian(images: &Tensor, noise: &dyn Noise, eta: f64) -> Result<Tensor> {
    let images = images.detach();
    let z = noise.normal("gaussian", images.dims(), images.device())?;
    clipped_step(&images, &z, eta / LEVELS, None)
}
