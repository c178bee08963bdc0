//! `be-kd-ods`: one-to-one distillation on ODS-perturbed images (Tashiro et al. 2020; Section 3 of the paper).
//!
//! CE on x, KD on clip(x + eta sqrt(D) d), with d the unit gradient of a random combination of one random teacher's
//! tempered probabilities.

use candle_core::Tensor;
use nn::Result;
use serde::Deserialize;

use crate::batch::{Batch, Loss, Step};
use crate::distill::one_to_one;
use crate::method::Method;
use crate::perturb::{Context, Perturbation, ods};
use crate::settings::check_perturbed;

/// Settings of distillation under ODS.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeKdOds {
    /// Weight of the distillation term, in [0, 1].
    pub alpha: f64,
    /// Temperature.
    pub tau: f64,
    /// Step size of the perturbation in 1/255.
    pub eta: f64,
}

impl Method for BeKdOds {
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

impl Perturbation for BeKdOds {
    fn perturb(&self, batch: &Batch, context: &Context<'_>) -> Result<Tensor> {
        let directions = ods(context.teachers, &batch.images, context.noise, context.groups, self.tau)?;
        directions.perturb(self.eta)
    }
}
