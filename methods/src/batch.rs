//! What a method is given in a step, and what it gives back.

use std::ops::Range;

use candle_core::Tensor;
use nn::Network;

use crate::noise::Noise;
use crate::perturb::Context;

/// A batch of training data.
#[derive(Clone, Debug)]
pub struct Batch {
    /// (B, C, H, W), in [0, 1].
    pub images: Tensor,
    /// (B,), u32 below K.
    pub labels: Tensor,
}

/// The rest of a step: networks and randomness.
pub struct Step<'a> {
    /// The network in training.
    pub student: &'a Network,
    /// The trained teachers T_1 .. T_M, in the order of the subnetworks; empty where the method uses none.
    pub teachers: &'a [Network],
    /// Batch-norm groups of the student (protocol: `bn_groups`).
    pub groups: usize,
    /// Where random draws come from.
    pub noise: &'a dyn Noise,
    /// The share of the training's steps that are over, in [0, 1).
    pub progress: f64,
}

impl<'a> Step<'a> {
    /// What a perturbation may look at of it.
    pub fn context(&self) -> Context<'a> {
        let Self { teachers, groups, noise, progress, .. } = *self;
        Context { teachers, groups, noise, progress }
    }
}

/// The batch-norm groups of `images`: consecutive ranges of nearly equal length, `groups` of them or as many as there are images.
pub fn group_ranges(images: usize, groups: usize) -> impl Iterator<Item = Range<usize>> {
    let groups = groups.clamp(1, images.max(1));
    (0..groups).map(move |group| group * images / groups..(group + 1) * images / groups)
}

/// The loss of one step.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What is minimised: a scalar.
    pub total: Tensor,
    /// Mean cross-entropy with the labels over the M * B rows of `logits`: a scalar.
    pub ce: Tensor,
    /// tau^2 times the mean divergence from the teachers, for LatentBE their cross-entropy: a scalar; `None` where the
    /// method does not distill.
    pub kd: Option<Tensor>,
    /// Logits (M, B, K), for the training accuracy: those of the clean pass, or of the only one where that is perturbed.
    pub logits: Tensor,
}
