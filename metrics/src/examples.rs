//! Scores example by example, so that they can be averaged again over any resample of the examples.

use crate::binned::bin;
use crate::probs::top1;
use crate::quality::{squares, surprise};
use crate::{BINS, Probs, Result};

/// The scores of each example, (N).
#[derive(Clone, Debug, PartialEq)]
pub struct Examples {
    hit: Vec<f64>,
    nll: Vec<f64>,
    bs: Vec<f64>,
    confidence: Vec<f64>,
    bin: Vec<usize>,
}

/// Scores over a resample of examples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resampled {
    /// Accuracy, as [`acc`](crate::acc).
    pub acc: f64,
    /// Negative log-likelihood, as [`nll`](crate::nll).
    pub nll: f64,
    /// Brier score, as [`bs`](crate::bs).
    pub bs: f64,
    /// Expected calibration error over [`BINS`] bins, as [`ece`](crate::ece).
    pub ece: f64,
}

impl Examples {
    /// The scores of `probs` under `labels`.
    ///
    /// # Errors
    /// Where the labels are not one class of `probs` an example.
    pub fn new(probs: &Probs, labels: &[u32]) -> Result<Self> {
        let mut examples = Self { hit: vec![], nll: vec![], bs: vec![], confidence: vec![], bin: vec![] };
        for (row, label) in probs.labelled(labels)? {
            let (class, confidence) = top1(row);
            examples.hit.push(f64::from(u8::from(class == label)));
            examples.nll.push(surprise(row, label));
            examples.bs.push(squares(row, label));
            examples.confidence.push(confidence);
            examples.bin.push(bin(confidence, BINS));
        }
        Ok(examples)
    }

    /// The number of examples N, at least 1.
    pub fn count(&self) -> usize {
        self.hit.len()
    }

    /// The scores of the resample that has example i `counts[i]` times. Examples beyond the counts are left out. NaN for
    /// an empty resample.
    pub fn resampled(&self, counts: &[u32]) -> Resampled {
        let (mut total, mut hits, mut nll, mut bs) = (0.0, 0.0, 0.0, 0.0);
        let mut gaps = [0.0; BINS];
        for (i, count) in counts.iter().enumerate().take(self.count()).filter(|(_, count)| **count > 0) {
            let count = f64::from(*count);
            total += count;
            hits += count * self.hit[i];
            nll += count * self.nll[i];
            bs += count * self.bs[i];
            gaps[self.bin[i]] += count * (self.confidence[i] - self.hit[i]);
        }
        let gap: f64 = gaps.iter().map(|gap| gap.abs()).sum();
        Resampled { acc: hits / total, nll: nll / total, bs: bs / total, ece: gap / total }
    }
}

/// The mean of `values` over the resample that has value i `counts[i]` times. NaN for an empty resample.
pub fn resampled_mean(values: &[f64], counts: &[u32]) -> f64 {
    let (mut sum, mut total) = (0.0, 0.0);
    for (value, count) in values.iter().zip(counts) {
        sum += value * f64::from(*count);
        total += f64::from(*count);
    }
    sum / total
}
