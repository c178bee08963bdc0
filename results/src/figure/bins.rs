//! Equal bins (lo, hi] of (0, 1], as the calibration error has them.

/// The bin of `confidence` among `count`; rounding above 1 and zero fall into the last and the first bin.
pub(super) fn of(confidence: f64, count: usize) -> usize {
    // The same edges as a comparison with b / count: 0.2 is in the bin that ends there.
    let above = (1..=count).take_while(|b| confidence > *b as f64 / count as f64).count();
    above.min(count.saturating_sub(1))
}

/// Mean of one value in each bin of another, and each bin's share of all.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Binned {
    /// The bins' parts of all examples, which sum to one.
    pub(super) share: Vec<f64>,
    /// Mean of the confidences in a bin; none of an empty one.
    pub(super) confidence: Vec<Option<f64>>,
    /// Mean of the values in a bin; none of an empty one.
    pub(super) value: Vec<Option<f64>>,
}

impl Binned {
    /// Bins (confidence, value) pairs.
    pub(super) fn new(pairs: impl IntoIterator<Item = (f64, f64)>, count: usize) -> Self {
        let mut sums = vec![(0.0, 0.0, 0.0); count];
        for (confidence, value) in pairs {
            if let Some(sum) = sums.get_mut(of(confidence, count)) {
                *sum = (sum.0 + 1.0, sum.1 + confidence, sum.2 + value);
            }
        }
        let total: f64 = sums.iter().map(|sum| sum.0).sum();
        let mean = |n: f64, sum: f64| (n > 0.0).then(|| sum / n);
        Self {
            share: sums.iter().map(|(n, ..)| if total > 0.0 { n / total } else { 0.0 }).collect(),
            confidence: sums.iter().map(|(n, sum, _)| mean(*n, *sum)).collect(),
            value: sums.iter().map(|(n, _, sum)| mean(*n, *sum)).collect(),
        }
    }

    /// The mean of all values: the bins' means weighted by their shares.
    pub(super) fn mean(&self) -> f64 {
        self.share.iter().zip(&self.value).map(|(share, value)| share * value.unwrap_or(0.0)).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bin_holds_its_upper_edge() {
        assert_eq!([0.0, 0.05, 0.1, 0.11, 0.2, 1.0, 1.0 + 1e-9].map(|c| of(c, 10)), [0, 0, 0, 1, 1, 9, 9]);
    }

    proptest! {
        /// The calibration error by `metrics`, which bins on its own, from the bins' means and shares.
        #[test]
        fn bins_give_the_calibration_error(
            top in prop::collection::vec((0.5_f64..1.0, any::<bool>()), 1..200),
        ) {
            let probs = top.iter().flat_map(|(p, _)| [*p, 1.0 - p]).collect();
            let probs = metrics::Probs::new(top.len(), 2, probs).unwrap();
            let labels: Vec<u32> = top.iter().map(|(_, hit)| u32::from(!hit)).collect();
            let expected = metrics::ece(&probs, &labels, metrics::BINS).unwrap();

            let pairs = top.iter().map(|(p, hit)| (*p, f64::from(u8::from(*hit))));
            let binned = Binned::new(pairs, metrics::BINS);
            let found: f64 = (0..metrics::BINS)
                .map(|bin| {
                    let gap = binned.confidence[bin].unwrap_or(0.0) - binned.value[bin].unwrap_or(0.0);
                    binned.share[bin] * gap.abs()
                })
                .sum();
            prop_assert!((found - expected).abs() < 1e-9, "{found} {expected}");
            let mean = top.iter().filter(|(_, hit)| *hit).count() as f64 / top.len() as f64;
            prop_assert!((binned.mean() - mean).abs() < 1e-9);
            prop_assert!((binned.share.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }
}
