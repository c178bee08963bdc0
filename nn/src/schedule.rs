//! The learning-rate schedule: linear warm-up, constant, linear decay, constant.

/// Rate factor by epoch, counted from 1 (protocol, Training).
///
/// With milestones (a, b, c): epochs below a rise linearly from `warmup_factor`, up to b the factor is 1, from b to c it
/// falls linearly to `gamma`, then stays there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// End of the warm-up, start and end of the decay.
    pub milestones: [usize; 3],
    /// Factor at the first epoch, where there is a warm-up.
    pub warmup_factor: f64,
    /// Factor after the decay.
    pub gamma: f64,
}

impl Schedule {
    /// The factor on the base rate in `epoch` (from 1).
    pub fn factor(&self, epoch: usize) -> f64 {
        let [warmup, start, end] = self.milestones;
        let share = |from: usize, to: usize| (epoch - from) as f64 / (to - from) as f64;
        if epoch < warmup {
            let progress = if warmup > 1 { (epoch.max(1) - 1) as f64 / (warmup - 1) as f64 } else { 1.0 };
            self.warmup_factor + (1.0 - self.warmup_factor) * progress
        } else if epoch < start {
            1.0
        } else if epoch < end {
            1.0 + (self.gamma - 1.0) * share(start, end)
        } else {
            self.gamma
        }
    }
}
