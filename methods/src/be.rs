//! `be`: a BatchEnsemble trained from scratch by cross-entropy (Wen et al. 2020).
//!
//! Assumed (the paper does not say): the distilled students' recipe with the cross-entropy alone.

use nn::Result;
use serde::Deserialize;

use crate::batch::{Batch, Loss, Step};
use crate::distill::cross_entropy_only;
use crate::method::Method;

/// No settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Be {}

impl Method for Be {
    fn uses_teachers(&self) -> bool {
        false
    }

    fn loss(&self, batch: &Batch, step: &Step<'_>) -> Result<Loss> {
        cross_entropy_only(batch, step)
    }
}
