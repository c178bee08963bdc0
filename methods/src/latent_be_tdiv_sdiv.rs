//! `latent-be-tdiv-sdiv`: LatentBE on images perturbed by TDiv-SDiv (Nam et al., ICML 2022).
//!
//! As `latent-be`, with both terms of the loss on clip(x + eta sqrt(D) g / ||g||), g the gradient by x of
//! H(t_a, t_b) - H(s_a, s_b) for one random pair of members a step. The training accuracy is that of the perturbed pass:
//! there is no clean one.

use nn::{Mode, Network, Result};
use serde::Deserialize;

use crate::batch::{Batch, Loss, Step};
use crate::distill::check_one_to_one;
use crate::latent;
use crate::method::Method;
use crate::noise::pair;
use crate::optimiser::Optimiser;
use crate::perturb::tdiv_sdiv;
use crate::settings::check_perturbed;

/// Settings of LatentBE under TDiv-SDiv.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentBeTdivSdiv {
    /// Weight of the distillation term, in [0, 1]; 1 in the paper.
    pub alpha: f64,
    /// Temperature; 4 in the paper.
    pub tau: f64,
    /// Step size of the perturbation in 1/255; 1 in the paper.
    pub eta: f64,
}

impl Method for LatentBeTdivSdiv {
    fn check(&self) -> std::result::Result<(), String> {
        check_perturbed(self.alpha, self.tau, self.eta)
    }

    fn least_members(&self) -> usize {
        2
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
        let pair = pair(step.noise, step.student.members())?;
        let student = |images: &_| latent::frozen_logits(step.student, images, Mode::Eval);
        let perturbed = tdiv_sdiv(step.teachers, student, &batch.images, pair, self.eta)?;
        latent::loss(step, &perturbed, &batch.labels, self.alpha, self.tau)
    }
}
