//! `be`: a BatchEnsemble trained from scratch by cross-entropy (Wen et al. 2020).
//!
//! Assumed (the paper does not say): the distilled students' recipe with the cross-entropy alone.

use nn::{NetworkSpec, Result};
use serde::Deserialize;

use crate::batch::{Batch, Loss, Step};
use crate::distill::cross_entropy_only;
use crate::method::{Method, Recipe};
use crate::registry::Checked;

/// No settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Be {}

impl Checked for Be {
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl Method for Be {
    fn student(&self, plain: &NetworkSpec, members: usize) -> NetworkSpec {
        plain.clone().batch_ensemble(members)
    }

    fn uses_teachers(&self) -> bool {
        false
    }

    fn recipe(&self) -> Recipe {
        Recipe::Student
    }

    fn loss(&self, batch: &Batch, step: &Step<'_>) -> Result<Loss> {
        cross_entropy_only(batch, step)
    }
}
