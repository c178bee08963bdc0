//! `latent-be`: LatentBE (Nam et al., ICML 2022), a BatchEnsemble that is folded into one plain network to predict.
//!
//! r and s start at 1 and decay towards 1; their gradients are multiplied by M. Loss (1 - alpha) CE + alpha tau^2
//! H(softmax(S_j / tau), softmax(T_j / tau)) on clean images, teacher j for subnetwork j; H(p, q) = -sum_k q_k ln p_k. Validated, kept and scored is
//! the plain network with the members' mean r and s in its weights ([`latent`]).
//!
//! Its paper trains it for 200 epochs of batch 128 at rate 0.1, warmed up from 0 over 5 epochs and lowered to 0 along a
//! cosine, step by step: the table `[recipe.latent-be]` of an experiment, without which it trains like the other students.

use nn::{Network, Result};
use serde::Deserialize;

use crate::batch::{Batch, Loss, Step};
use crate::distill::check_one_to_one;
use crate::latent;
use crate::method::Method;
use crate::optimiser::Optimiser;
use crate::settings::check_distillation;

/// Settings of LatentBE.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentBe {
    /// Weight of the distillation term, in [0, 1]; 1 in the paper.
    pub alpha: f64,
    /// Temperature; 4 in the paper.
    pub tau: f64,
}

impl Method for LatentBe {
    fn check(&self) -> std::result::Result<(), String> {
        check_distillation(self.alpha, self.tau)
    }

    fn prepare(&self, student: &Network) -> Result<()> {
        latent::start(student)
    }

    fn optimiser(&self, recipe: Optimiser, members: usize) -> Optimiser {
        latent::optimiser(recipe, members)
    }

    fn fixes(&self) -> &'static [(&'static str, &'static str)] {
        latent::FIXED
    }

    fn inference(&self, student: &Network) -> Result<Option<Network>> {
        latent::fold(student).map(Some)
    }

    fn loss(&self, batch: &Batch, step: &Step<'_>) -> Result<Loss> {
        check_one_to_one(step)?;
        latent::loss(step, &batch.images, &batch.labels, self.alpha, self.tau)
    }
}
