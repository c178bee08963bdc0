//! `be-kd-conf-ods`: one-to-one distillation on ConfODS-perturbed images, the method that the paper proposes.
//!
//! As `be-kd-ods`, with the step scaled by the perturbing teacher's confidence: clip(x + eta C_max sqrt(D) d), C_max the
//! largest of its tempered probabilities.

use candle_core::Tensor;
use nn::Result;
use serde::Deserialize;

use crate::batch::{Batch, Loss, Step};
use crate::distill::one_to_one;
use crate::method::Method;
use crate::perturb::{Context, Perturbation, ods};
use crate::settings::check_perturbed;

/// Settings of distillation under ConfODS.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeKdConfOds {
    /// Weight of the distillation term, in [0, 1].
    pub alpha: f64,
    /// Temperature.
    pub tau: f64,
    /// Step size of the perturbation in 1/255.
    pub eta: f64,
}

impl Method for BeKdConfOds {
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

impl Perturbation for BeKdConfOds {
    fn perturb(&self, batch: &Batch, context: &Context<'_>) -> Result<Tensor> {
        let directions = ods(context.teachers, &batch.images, context.noise, context.groups, self.tau)?;
        directions.perturb_by_confidence(self.eta)
    }
}
