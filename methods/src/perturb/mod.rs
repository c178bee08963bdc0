//! Perturbations of training images. All work on pixels in [0, 1] and clip to that range.

mod gaussian;
mod ods;
mod tdiv_sdiv;

pub use gaussian::gaussian;
pub use ods::{Directions, ods};
pub use tdiv_sdiv::tdiv_sdiv;

use candle_core::Tensor;

/// Grey levels: step sizes are in 1/255.
const LEVELS: f64 = 255.0;

/// sqrt(D), D = C * H * W, of images (B, C, H, W).
fn root_dimension(images: &Tensor) -> f64 {
    (images.elem_count() as f64 / images.dims().first().copied().unwrap_or(1).max(1) as f64).sqrt()
}
