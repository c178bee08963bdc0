//! How a student is trained: a recipe's numbers, which a method may change.

use nn::{Network, Sgd, SgdSettings};

/// The optimiser's settings and base rates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Optimiser {
    /// Momentum and weight decays.
    pub settings: SgdSettings,
    /// Base rate of the slow weights.
    pub lr: f64,
    /// Base rate of the fast weights.
    pub lr_fast: f64,
    /// What the fast weights decay towards: 0 in every recipe.
    pub centre: f64,
}

impl Optimiser {
    /// The optimiser of `network`, before its first step.
    pub fn sgd(&self, network: &Network) -> Sgd {
        Sgd::new(network, self.settings).decaying_towards(self.centre)
    }
}
