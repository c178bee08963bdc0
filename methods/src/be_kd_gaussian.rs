//! `be-kd-gaussian`: one-to-one distillation on images with Gaussian noise.
//!
//! CE on x, KD on clip(x + eta z) with z ~ N(0, I) per pixel: noise whose squared length is on average that of ODS,
//! without its direction.

use candle_core::Tensor;
use nn::Result;
use serde::Deserialize;

use crate::batch::{Batch, Loss, Step};
use crate::distill::one_to_one;
use crate::method::Method;
use crate::perturb::{Context, Perturbation, gaussian};
use crate::settings::check_perturbed;

/// Settings of distillation under Gaussian noise.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeKdGaussian {
    /// Weight of the distillation term, in [0, 1].
    pub alpha: f64,
    /// Temperature.
    pub tau: f64,
    /// Step size of the perturbation in 1/255.
    pub eta: f64,
}

impl Method for BeKdGaussian {
    fn check(&self) -> std::result::Result<(), String> {
        check_perturbed(self.alpha, self.tau, self.eta)
    }

    fn perturbation(&self) -> Option<&dyn Perturbation> {
        Some(self)
    }

    fn loss(&self, batch: &Batch, step: &Step<'_>) -> Result<Loss> {
        one_to_one(batch, step, self.perturbation(), self.alpha, self.tau)
    }
}

impl Perturbation for BeKdGaussian {
    fn perturb(&self, batch: &Batch, context: &Context<'_>) -> Result<Tensor> {
        gaussian(&batch.images, context.noise, self.eta)
    }
}
