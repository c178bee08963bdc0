//! Perturbations of training images. All work on pixels in [0, 1] and clip to that range.

mod gaussian;
mod ods;
mod tdiv_sdiv;

pub use gaussian::gaussian;
pub use ods::{Directions, ods};
pub use tdiv_sdiv::tdiv_sdiv;

use candle_core::{Tensor, Var};
use nn::pixels::{clipped_step, unit};
use nn::{Error, Network, Result};

use crate::batch::Batch;
use crate::noise::Noise;

/// How a method perturbs the images that it distills on, where that takes no more than the batch and the teachers: analyses see
/// teachers and students through the same.
pub trait Perturbation {
    /// The images (B, C, H, W) of `batch` as it perturbs them, clipped to [0, 1].
    ///
    /// # Errors
    /// Where there is no teacher and it takes one; the networks' errors otherwise.
    fn perturb(&self, batch: &Batch, context: &Context<'_>) -> Result<Tensor>;
}

/// What a perturbation may look at beside the batch.
pub struct Context<'a> {
    /// The trained teachers T_1 .. T_M.
    pub teachers: &'a [Network],
    /// Batch-norm groups of the batch.
    pub groups: usize,
    /// Where random draws come from.
    pub noise: &'a dyn Noise,
    /// The share of the training's steps that are over, in [0, 1]; analyses see its end.
    pub progress: f64,
}

/// The gradient by `images` (B, C, H, W) of a scalar that `objective` makes of them, and what else it gives.
///
/// # Errors
/// [`Error::State`] where the scalar does not depend on the images; those of `objective`.
pub fn image_gradient<T>(
    images: &Tensor,
    objective: impl FnOnce(&Tensor) -> Result<(Tensor, T)>,
) -> Result<(Tensor, T)> {
    let x = Var::from_tensor(&images.contiguous()?)?;
    let (scalar, rest) = objective(&x)?;
    let gradients = scalar.backward()?;
    match gradients.get(&x) {
        Some(gradient) => Ok((gradient.clone(), rest)),
        None => Err(Error::State("no network's output depends on the images".to_owned())),
    }
}

/// clip(x + eta / 255 * sqrt(D) * d), D = C * H * W, of images x (B, C, H, W) in [0, 1]: one step of `eta` (in 1/255) that raises
/// `objective`, a sum over images; d is its gradient by an image over its L2 norm, zero where it vanishes.
///
/// # Errors
/// As [`image_gradient`].
pub fn ascend(
    images: &Tensor,
    eta: f64,
    objective: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    let images = images.detach();
    let (gradient, ()) = image_gradient(&images, |x| Ok((objective(x)?, ())))?;
    clipped_step(&images, &unit(&gradient)?, eta / LEVELS * root_dimension(&images), None)
}

/// Grey levels: step sizes are in 1/255.
pub(crate) const LEVELS: f64 = 255.0;

/// sqrt(D), D = C * H * W, of images (B, C, H, W).
pub(crate) fn root_dimension(images: &Tensor) -> f64 {
    (images.elem_count() as f64 / images.dims().first().copied().unwrap_or(1).max(1) as f64).sqrt()
}
