//! Calibration errors: how far confidence and accuracy are apart, averaged over bins of predictions.
//!
//! Every one is a sum over bins of |mean confidence - mean accuracy| * (predictions in the bin) / (all predictions),
//! which equals |sum of confidences - number of hits| / (all predictions) bin by bin; an empty bin adds nothing (the
//! official code divides zero by zero there where a class has fewer than 15 predictions).
//!
//! * [`ece`] (Guo et al. 2017) looks at the top-1 confidence, in equal-width bins.
//! * [`sce`] (Nixon et al. 2019) at the probability of every class, in equal-width bins per class.
//! * [`ace`] and [`tace`] (same paper) at the probability of every class, in equal-mass bins per class.

use crate::binned::bin;
use crate::probs::top1;
use crate::{Error, Probs, Result};

/// The protocol's number of bins.
pub const BINS: usize = 15;

/// [`tace`] leaves out probabilities at or under this.
pub const TACE_THRESHOLD: f64 = 1e-3;

/// Expected calibration error of the top-1 confidence over `bins` equal bins (lo, hi] of (0, 1], in [0, 1].
///
/// # Errors
/// Where the labels are not one class of `probs` an example, or `bins` is zero.
pub fn ece(probs: &Probs, labels: &[u32], bins: usize) -> Result<f64> {
    let mut histogram = Histogram::new(bins)?;
    for (row, label) in probs.labelled(labels)? {
        let (class, confidence) = top1(row);
        histogram.add(confidence, class == label);
    }
    Ok(histogram.total_gap() / probs.examples() as f64)
}

/// Static calibration error: `bins` equal bins (lo, hi] per class over the class's probabilities, divided by N K.
/// A probability of exactly zero is in no bin.
///
/// # Errors
/// Where the labels are not one class of `probs` an example, or `bins` is zero.
pub fn sce(probs: &Probs, labels: &[u32], bins: usize) -> Result<f64> {
    let mut histogram = Histogram::new(bins)?;
    let mut total = 0.0;
    for class in 0..probs.classes() {
        histogram.clear();
        for (row, label) in probs.labelled(labels)? {
            histogram.add(row[class], class == label);
        }
        total += histogram.total_gap();
    }
    Ok(total / probs.values().len() as f64)
}

/// Adaptive calibration error: [`tace`] with every probability above zero.
///
/// # Errors
/// Where the labels are not one class of `probs` an example, or `bins` is zero.
pub fn ace(probs: &Probs, labels: &[u32], bins: usize) -> Result<f64> {
    tace(probs, labels, bins, 0.0)
}

/// Thresholded adaptive calibration error: per class, the probabilities above `threshold` in rising order are cut
/// into `bins` bins of floor(count / bins) each, the last takes the remainder too; the sum is divided by N K (all
/// predictions, also those left out). Among equal probabilities those of the true class come last.
///
/// # Errors
/// Where the labels are not one class of `probs` an example, or `bins` is zero.
pub fn tace(probs: &Probs, labels: &[u32], bins: usize, threshold: f64) -> Result<f64> {
    if bins == 0 {
        return Err(Error::NoBins);
    }
    let mut kept: Vec<(f64, bool)> = Vec::with_capacity(probs.examples());
    let mut total = 0.0;
    for class in 0..probs.classes() {
        kept.clear();
        kept.extend(
            probs
                .labelled(labels)?
                .map(|(row, label)| (row[class], class == label))
                .filter(|(p, _)| *p > threshold),
        );
        // Hits come last among equals: ties across a bin's edge do not depend on the examples' order.
        kept.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (equal, last) = kept.split_at(kept.len() / bins * (bins - 1));
        // With fewer predictions than bins the first bins are empty; chunks of one then cover an empty slice.
        total += equal.chunks((kept.len() / bins).max(1)).chain([last]).map(gap).sum::<f64>();
    }
    Ok(total / probs.values().len() as f64)
}

/// |sum of confidences - number of hits| of one bin.
fn gap(bin: &[(f64, bool)]) -> f64 {
    bin.iter().map(|&(p, hit)| p - f64::from(u8::from(hit))).sum::<f64>().abs()
}

/// Equal-width bins (lo, hi] of (0, 1], each with the sum of confidence - hit.
struct Histogram {
    sums: Vec<f64>,
}

impl Histogram {
    fn new(bins: usize) -> Result<Self> {
        if bins == 0 {
            return Err(Error::NoBins);
        }
        Ok(Self { sums: vec![0.0; bins] })
    }

    fn clear(&mut self) {
        self.sums.fill(0.0);
    }

    fn add(&mut self, confidence: f64, hit: bool) {
        if confidence > 0.0 {
            let bin = bin(confidence, self.sums.len());
            self.sums[bin] += confidence - f64::from(u8::from(hit));
        }
    }

    fn total_gap(&self) -> f64 {
        self.sums.iter().map(|sum| sum.abs()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (N, 2) probabilities from the first class's.
    fn binary(first: &[f64]) -> Probs {
        Probs::new(first.len(), 2, first.iter().flat_map(|p| [*p, 1.0 - p]).collect()).unwrap()
    }

    #[test]
    fn a_bin_holds_its_upper_edge_and_not_its_lower() {
        // Two bins (0, .5] and (.5, 1]. Confidences .5 (wrong) and .75 (right) are in different bins:
        // (.5 + .25) / 2. One bin would give |.5 - .25| / 2.
        let probs = binary(&[0.5, 0.75]);
        assert!((ece(&probs, &[1, 0], 2).unwrap() - 0.375).abs() < 1e-15);
        assert!((ece(&probs, &[1, 0], 1).unwrap() - 0.125).abs() < 1e-15);
        // The same at the edges the protocol has: confidence 12/15 belongs to (11/15, 12/15].
        let mut histogram = Histogram::new(BINS).unwrap();
        for b in 1..=BINS {
            histogram.clear();
            histogram.add(b as f64 / BINS as f64, false);
            assert!(histogram.sums[b - 1] > 0.0, "edge {b}/15");
            if b < BINS {
                histogram.clear();
                histogram.add((b as f64 / BINS as f64).next_up(), false);
                assert!(histogram.sums[b] > 0.0, "just above {b}/15");
            }
        }
    }

    #[test]
    fn zero_is_in_no_bin_and_above_one_in_the_last() {
        let mut histogram = Histogram::new(3).unwrap();
        histogram.add(0.0, true);
        assert_eq!(histogram.sums, [0.0; 3]);
        histogram.add(1.0 + 1e-9, false);
        assert!(histogram.sums[2] > 1.0);
    }

    #[test]
    fn sce_sums_over_classes() {
        // One bin: class 0 |1.25 - 1| = .25, class 1 |.75 - 1| = .25; divided by N K = 4.
        let probs = binary(&[0.5, 0.75]);
        assert!((sce(&probs, &[1, 0], 1).unwrap() - 0.125).abs() < 1e-15);
        // Two bins: class 0 {.5 miss} {.75 hit}, class 1 {.5 hit, .25 miss}: .5 + .25 + .25.
        assert!((sce(&probs, &[1, 0], 2).unwrap() - 0.25).abs() < 1e-15);
    }

    #[test]
    fn the_last_bin_takes_the_remainder() {
        // Class 0 sorted: .1 .2 .3 .4 .5, two bins of 2 and 3. Labels hit class 0 at .2 and .5:
        // |.3 - 1| + |1.2 - 1| = .9. Class 1 sorted: .5 .6 .7 .8 .9, hits at .6 .7 .9: |1.1 - 1| + |2.4 - 2| = .5.
        let probs = binary(&[0.1, 0.2, 0.3, 0.4, 0.5]);
        let labels = [1, 0, 1, 1, 0];
        assert!((ace(&probs, &labels, 2).unwrap() - 1.4 / 10.0).abs() < 1e-15);
    }

    #[test]
    fn fewer_predictions_than_bins_fall_into_the_last() {
        // Class 0: |.3 - 1|, class 1: |1.7 - 1|, over N K = 4.
        let probs = binary(&[0.1, 0.2]);
        assert!((ace(&probs, &[1, 0], 15).unwrap() - 1.4 / 4.0).abs() < 1e-15);
    }

    #[test]
    fn the_threshold_leaves_out_but_divides_by_all() {
        // Class 0 keeps .2 only: |.2 - 1|; class 1 keeps both: |.8 + 1 - 1|.
        let probs = binary(&[0.0, 0.2]);
        assert!((tace(&probs, &[1, 0], 1, 1e-3).unwrap() - 1.6 / 4.0).abs() < 1e-15);
        // At the threshold is left out.
        assert!((tace(&probs, &[1, 0], 1, 0.2).unwrap() - 0.8 / 4.0).abs() < 1e-15);
        assert_eq!(tace(&probs, &[1, 0], 1, 2.0).unwrap(), 0.0);
    }

    #[test]
    fn no_bins_is_an_error() {
        let probs = binary(&[0.5]);
        assert_eq!(ece(&probs, &[0], 0), Err(Error::NoBins));
        assert_eq!(sce(&probs, &[0], 0), Err(Error::NoBins));
        assert_eq!(ace(&probs, &[0], 0), Err(Error::NoBins));
    }
}
