//! `kd`: one plain network distilled from the ensemble (Hinton et al. 2015).
//!
//! Loss (1 - alpha) CE + alpha tau^2 KL(p || softmax(S / tau)) on clean images, with p the mean over teachers of
//! softmax(T_j / tau). Assumed (the paper does not say): the teachers' batch, rate and schedule with the students' alpha
//! and tau.

use nn::loss::tempered_probs;
use nn::{NetworkSpec, Result};
use serde::Deserialize;

use crate::batch::{Batch, Loss, Step};
use crate::distill::{Passes, passes, weighted};
use crate::method::{Method, Recipe};
use crate::settings::check_distillation;

/// Settings of single-network distillation.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kd {
    /// Weight of the distillation term, in [0, 1].
    pub alpha: f64,
    /// Temperature.
    pub tau: f64,
}

impl Method for Kd {
    fn check(&self) -> std::result::Result<(), String> {
        check_distillation(self.alpha, self.tau)
    }

    fn student(&self, plain: &NetworkSpec, _members: usize) -> NetworkSpec {
        plain.clone()
    }

    fn recipe(&self) -> Recipe {
        Recipe::Teacher
    }

    fn loss(&self, batch: &Batch, step: &Step<'_>) -> Result<Loss> {
        let Passes { clean, distilled, teachers } = passes(batch, step, None)?;
        let target = tempered_probs(&teachers, self.tau)?.mean_keepdim(0)?;
        weighted(batch, clean, &distilled, &target, self.alpha, self.tau)
    }
}
