//! Examples in equal bins of their confidence: histograms (the paper's figure 1), diversity by confidence (figure 3),
//! reliability.

/// Each bin's share of all examples and its means, over equal bins (lo, hi] of (0, 1], as the calibration errors have
/// them.
#[derive(Clone, Debug, PartialEq)]
pub struct Binned {
    /// The bins' parts of all examples, which sum to one; zeros without examples.
    pub share: Vec<f64>,
    /// Mean of the confidences in a bin; none of an empty one.
    pub confidence: Vec<Option<f64>>,
    /// Mean of the values in a bin; none of an empty one.
    pub value: Vec<Option<f64>>,
}

impl Binned {
    /// Bins `pairs` of confidence and value into `bins` bins. Zero falls into the first bin, what rounding puts above 1
    /// into the last.
    pub fn new(pairs: impl IntoIterator<Item = (f64, f64)>, bins: usize) -> Self {
        let mut sums = vec![(0.0, 0.0, 0.0); bins];
        for (confidence, value) in pairs {
            if let Some((count, confidences, values)) = sums.get_mut(bin(confidence, bins)) {
                *count += 1.0;
                *confidences += confidence;
                *values += value;
            }
        }
        let total = sums.iter().map(|(count, ..)| count).sum::<f64>().max(1.0);
        let mean = |count: f64, sum: f64| (count > 0.0).then(|| sum / count);
        Self {
            share: sums.iter().map(|(count, ..)| count / total).collect(),
            confidence: sums.iter().map(|(count, sum, _)| mean(*count, *sum)).collect(),
            value: sums.iter().map(|(count, _, sum)| mean(*count, *sum)).collect(),
        }
    }

    /// The mean of all values: the bins' means weighted by their shares (the figure's "mean-KLD"). Zero without examples.
    pub fn mean(&self) -> f64 {
        self.share.iter().zip(&self.value).map(|(share, value)| share * value.unwrap_or(0.0)).sum()
    }
}

/// The index of the bin that holds `confidence`: the first whose upper edge b / bins is not below it. What rounding puts
/// above 1 is in the last; zero is in the first.
pub(crate) fn bin(confidence: f64, bins: usize) -> usize {
    let below = (1..=bins).take_while(|b| confidence > *b as f64 / bins as f64).count();
    below.min(bins.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_holds_its_upper_edge() {
        assert_eq!([0.0, 0.05, 0.1, 0.11, 0.2, 1.0, 1.0 + 1e-9].map(|c| bin(c, 10)), [0, 0, 0, 1, 1, 9, 9]);
    }

    /// By hand: two bins, values 1 and 3 in the first, 5 in the second.
    #[test]
    fn shares_and_means_by_hand() {
        let binned = Binned::new([(0.1, 1.0), (0.5, 3.0), (0.9, 5.0), (1.0, 5.0)], 2);
        assert_eq!(binned.share, [0.5, 0.5]);
        assert_eq!(binned.value, [Some(2.0), Some(5.0)]);
        assert_eq!(binned.confidence, [Some(0.3), Some(0.95)]);
        assert_eq!(binned.mean(), 3.5);
        let none = Binned::new([], 2);
        assert_eq!(
            (none.share.as_slice(), none.value.as_slice(), none.mean()),
            (&[0.0, 0.0][..], &[None, None][..], 0.0)
        );
    }
}
