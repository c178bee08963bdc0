//! All scores of one set of predictions, under the names that tables and files use.

use crate::{BINS, Probs, Result, TACE_THRESHOLD, acc, ace, bs, ece, entropy, nll, sce, tace};

/// The protocol's scores of averaged probabilities, with its 15 bins. The `c` names are after temperature scaling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    /// Accuracy, a fraction.
    pub acc: f64,
    /// Negative log-likelihood, nats.
    pub nll: f64,
    /// Brier score, in [0, 2].
    pub bs: f64,
    /// Expected calibration error, a fraction.
    pub ece: f64,
    /// `nll` at `temperature`.
    pub cnll: f64,
    /// `bs` at `temperature`.
    pub cbs: f64,
    /// `ece` at `temperature`.
    pub cece: f64,
    /// The temperature of the calibrated scores.
    pub temperature: f64,
    /// Static calibration error.
    pub sce: f64,
    /// Adaptive calibration error.
    pub ace: f64,
    /// Thresholded adaptive calibration error.
    pub tace: f64,
    /// Mean entropy of the predictions, nats.
    pub entropy: f64,
}

/// Scores `test` (N, K) against `labels`; `temperature` comes from [`crate::fit_temperature`] on the validation split.
///
/// # Errors
/// Where the labels are not one class of `test` an example, or the temperature is not a finite number above zero.
pub fn score(test: &Probs, labels: &[u32], temperature: f64) -> Result<Scores> {
    let calibrated = test.scaled(temperature)?;
    Ok(Scores {
        acc: acc(test, labels)?,
        nll: nll(test, labels)?,
        bs: bs(test, labels)?,
        ece: ece(test, labels, BINS)?,
        cnll: nll(&calibrated, labels)?,
        cbs: bs(&calibrated, labels)?,
        cece: ece(&calibrated, labels, BINS)?,
        temperature,
        sce: sce(test, labels, BINS)?,
        ace: ace(test, labels, BINS)?,
        tace: tace(test, labels, BINS, TACE_THRESHOLD)?,
        entropy: entropy(test),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calibrated_scores_are_those_of_the_scaled_probabilities() {
        let probs = Probs::new(2, 2, vec![0.9, 0.1, 0.7, 0.3]).unwrap();
        let labels = [0, 1];
        let scores = score(&probs, &labels, 2.5).unwrap();
        let scaled = probs.scaled(2.5).unwrap();
        assert_eq!(scores.nll, nll(&probs, &labels).unwrap());
        assert_eq!(scores.cnll, nll(&scaled, &labels).unwrap());
        assert_eq!(scores.cbs, bs(&scaled, &labels).unwrap());
        assert_eq!(scores.cece, ece(&scaled, &labels, BINS).unwrap());
        assert_eq!(scores.temperature, 2.5);
        assert!(score(&probs, &labels, -1.0).is_err());
        assert!(score(&probs, &[0], 1.0).is_err());
    }
}
