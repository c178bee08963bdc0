//! The learning-rate schedule: linear warm-up, constant, decay, constant.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the rate falls between the second and the third milestone, and how often it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// In a line, epoch by epoch (protocol, Training).
    #[default]
    Linear,
    /// Along half a cosine, step by step (Nam et al. 2022).
    Cosine,
}

impl Decay {
    /// The names in settings.
    pub const NAMES: [&str; 2] = ["linear", "cosine"];

    fn is_linear(&self) -> bool {
        *self == Self::Linear
    }
}

/// The factor on the base rate. It is also the table `schedule` of a recipe.
///
/// With milestones (a, b, c) the factor rises linearly from `warmup_factor` at the start to 1 at a, is 1 up to b, falls to
/// `gamma` at c, and stays there. With [`Decay::Linear`] time is the epoch, counted from 1; with [`Decay::Cosine`] it is the
/// number of epochs that are over, of which each step adds a part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// End of the warm-up, start and end of the decay.
    pub milestones: [usize; 3],
    /// Factor at the start, where there is a warm-up.
    pub warmup_factor: f64,
    /// Factor after the decay.
    pub gamma: f64,
    /// The form of the decay.
    #[serde(default, skip_serializing_if = "Decay::is_linear")]
    pub decay: Decay,
}

impl Schedule {
    /// The factor in `epoch` (from 1) for the step before which `passed` of its steps are over: a part, from 0 to below 1.
    pub fn factor(&self, epoch: usize, passed: f64) -> f64 {
        let before = epoch.max(1) as f64 - 1.0;
        let milestones = self.milestones.map(|milestone| milestone as f64);
        match self.decay {
            // Counted from 0, like the time.
            Decay::Linear => self.at(before, milestones.map(|milestone| milestone - 1.0), |share| share),
            Decay::Cosine => {
                self.at(before + passed, milestones, |share| 0.5 * (1.0 - libm::cos(PI * share)))
            }
        }
    }

    /// The factor at `time`; `fall` takes the part of the decay's time that is over to the part of its way, from 0 to 1.
    fn at(&self, time: f64, [warmup, start, end]: [f64; 3], fall: impl Fn(f64) -> f64) -> f64 {
        if time < warmup {
            self.warmup_factor + (1.0 - self.warmup_factor) * (time / warmup)
        } else if time < start {
            1.0
        } else if time < end {
            1.0 + (self.gamma - 1.0) * fall((time - start) / (end - start))
        } else {
            self.gamma
        }
    }
}
