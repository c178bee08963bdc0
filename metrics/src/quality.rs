//! Scores of averaged probabilities p (N, K) against labels y: accuracy, likelihood, Brier score; and entropy.

use libm::log;

use crate::probs::{EPSILON, top1};
use crate::{Probs, Result};

/// Accuracy: the share of examples with argmax p = y (a fraction; ties go to the lowest class).
///
/// # Errors
/// Where the labels are not one class of `probs` an example.
pub fn acc(probs: &Probs, labels: &[u32]) -> Result<f64> {
    let hits = probs.labelled(labels)?.filter(|(row, label)| top1(row).0 == *label).count();
    Ok(hits as f64 / probs.examples() as f64)
}

/// Negative log-likelihood in nats: the mean of -ln(1e-12 + p_y).
///
/// # Errors
/// Where the labels are not one class of `probs` an example.
pub fn nll(probs: &Probs, labels: &[u32]) -> Result<f64> {
    let sum: f64 = probs.labelled(labels)?.map(|(row, label)| surprise(row, label)).sum();
    Ok(sum / probs.examples() as f64)
}

/// Brier score: the mean over examples of sum_k (p_k - 1[k = y])^2, in [0, 2] (not divided by K).
///
/// # Errors
/// Where the labels are not one class of `probs` an example.
pub fn bs(probs: &Probs, labels: &[u32]) -> Result<f64> {
    let sum: f64 = probs.labelled(labels)?.map(|(row, label)| squares(row, label)).sum();
    Ok(sum / probs.examples() as f64)
}

/// One example's part of [`nll`].
pub(crate) fn surprise(row: &[f64], label: usize) -> f64 {
    -log(EPSILON + row[label])
}

/// One example's part of [`bs`].
pub(crate) fn squares(row: &[f64], label: usize) -> f64 {
    row.iter().enumerate().map(|(class, p)| (p - f64::from(u8::from(class == label))).powi(2)).sum()
}

/// Mean entropy of the predictions in nats: the mean of -sum_k p_k ln(1e-12 + p_k).
pub fn entropy(probs: &Probs) -> f64 {
    let sum: f64 = probs.values().iter().map(|p| -p * log(EPSILON + p)).sum();
    sum / probs.examples() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probs() -> Probs {
        Probs::new(2, 3, vec![0.5, 0.25, 0.25, 0.0, 1.0, 0.0]).unwrap()
    }

    #[test]
    fn values_by_hand() {
        let labels = [0, 2];
        assert_eq!(acc(&probs(), &labels).unwrap(), 0.5);
        let expected_nll = (2.0_f64.ln() + -(1e-12_f64.ln())) / 2.0;
        assert!((nll(&probs(), &labels).unwrap() - expected_nll).abs() < 1e-10);
        // First example .25 + .0625 + .0625 = .375, second 1 + 1 = 2.
        assert!((bs(&probs(), &labels).unwrap() - (0.375 + 2.0) / 2.0).abs() < 1e-15);
        // First example ln(2)/2 + ln(4)/2 = 1.5 ln 2, second 0.
        assert!((entropy(&probs()) - 0.75 * 2.0_f64.ln()).abs() < 1e-11);
    }

    #[test]
    fn labels_are_checked() {
        assert!(acc(&probs(), &[0]).is_err());
        assert!(nll(&probs(), &[0, 3]).is_err());
        assert!(bs(&probs(), &[0, 1, 2]).is_err());
    }
}
