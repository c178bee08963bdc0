//! What failures cost a run that writes checkpoints (Young 1974, Daly 2006).
//!
//! Failures of a device are independent, one in M seconds on average. A run writes a checkpoint, which takes c, after
//! every t seconds of work; after a failure it takes R until it works again, from its last checkpoint. A stretch of work and
//! its checkpoint, begun anew after each failure, takes M exp(R / M) (exp((t + c) / M) - 1) seconds on average.

/// How a device fails and a run goes on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Failures {
    /// M: seconds between failures of a device, on average. Infinite where none fails.
    pub mtbf: f64,
    /// c: seconds to write a checkpoint.
    pub checkpoint: f64,
    /// R: seconds from a failure until the run works again.
    pub restart: f64,
}

impl Failures {
    /// The average time of `work` seconds with a checkpoint after every `interval` of them.
    pub fn expected(&self, work: f64, interval: f64) -> f64 {
        let Self { mtbf, checkpoint, restart } = *self;
        if work <= 0.0 {
            return 0.0;
        }
        let interval = interval.min(work);
        let stretch = interval + checkpoint;
        let stretch = if mtbf.is_finite() {
            mtbf * (restart / mtbf).exp() * (stretch / mtbf).exp_m1()
        } else {
            stretch
        };
        work / interval * stretch
    }

    /// Young's interval between checkpoints, which loses least where failures are rare: sqrt(2 c M).
    pub fn best_interval(&self) -> f64 {
        (2.0 * self.checkpoint * self.mtbf).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use random::Stream;

    use super::*;

    #[test]
    fn without_failures_only_checkpoints_cost() {
        let never = Failures { mtbf: f64::INFINITY, checkpoint: 2.0, restart: 300.0 };
        assert_eq!(never.expected(1000.0, 100.0), 1020.0);
        assert_eq!(never.expected(50.0, 100.0), 52.0);
        assert_eq!(never.expected(0.0, 100.0), 0.0);
    }

    /// 20,000 stretches with failures drawn one by one, against the formula: within 2%.
    #[test]
    fn the_formula_is_the_mean_of_drawn_failures() {
        let failures = Failures { mtbf: 300.0, checkpoint: 5.0, restart: 40.0 };
        let mut draws = Stream::new(3, "failures").draws(0, 0);
        let mut until = || -failures.mtbf * (1.0 - f64::from(draws.uniform())).ln();
        let (stretches, stretch) = (20_000, 100.0 + failures.checkpoint);
        let mut total = 0.0;
        for _ in 0..stretches {
            // A restart may fail too.
            let mut needed = stretch;
            loop {
                let next = until();
                if next >= needed {
                    total += needed;
                    break;
                }
                total += next;
                needed = failures.restart + stretch;
            }
        }
        let expected = failures.expected(100.0 * f64::from(stretches), 100.0);
        assert!((total / expected - 1.0).abs() < 0.02, "{total} {expected}");
    }

    #[test]
    fn youngs_interval_loses_least() {
        let failures = Failures { mtbf: 86_400.0, checkpoint: 10.0, restart: 300.0 };
        let best = failures.best_interval();
        let loss = |interval| failures.expected(1e6, interval);
        assert!(loss(best) < loss(best / 1.5) && loss(best) < loss(best * 1.5));
    }
}
