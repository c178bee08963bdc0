//! `teacher`: a member of the deep ensemble DE-M, a plain network trained by cross-entropy.
//!
//! The members differ by their seed alone (initialisation, order, augmentation); the rows `de-1` .. `de-M` average their
//! probabilities.

use nn::{NetworkSpec, Result};
use serde::Deserialize;

use crate::batch::{Batch, Loss, Step};
use crate::distill::cross_entropy_only;
use crate::method::{Method, Recipe};

/// No settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Teacher {}

impl Method for Teacher {
    fn student(&self, plain: &NetworkSpec, _members: usize) -> NetworkSpec {
        plain.clone()
    }

    fn uses_teachers(&self) -> bool {
        false
    }

    fn recipe(&self) -> Recipe {
        Recipe::Teacher
    }

    fn loss(&self, batch: &Batch, step: &Step<'_>) -> Result<Loss> {
        cross_entropy_only(batch, step)
    }
}
