//! `be-kd`: a BatchEnsemble distilled one-to-one on clean images (the baseline of the paper, Section 3).
//!
//! Loss (1 - alpha) CE + alpha tau^2 KL(softmax(T_j / tau) || softmax(S_j / tau)), both on the clean batch: the student
//! runs once a step.

use nn::Result;
use serde::Deserialize;

use crate::batch::{Batch, Loss, Step};
use crate::distill::one_to_one;
use crate::method::Method;
use crate::settings::check_distillation;

/// Settings of plain one-to-one distillation.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeKd {
    /// Weight of the distillation term, in [0, 1].
    pub alpha: f64,
    /// Temperature.
    pub tau: f64,
}

impl Method for BeKd {
    fn check(&self) -> std::result::Result<(), String> {
        check_distillation(self.alpha, self.tau)
    }

    fn loss(&self, batch: &Batch, step: &Step<'_>) -> Result<Loss> {
        one_to_one(batch, step, None, self.alpha, self.tau)
    }
}
