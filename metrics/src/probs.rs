//! Class probabilities (N, K) and where they come from: the softmax of member logits, averaged over members.

use libm::{exp, log};

use crate::{Error, Result};

/// Added to a probability before its logarithm, as the protocol's NLL, entropy and temperature objective do.
pub(crate) const EPSILON: f64 = 1e-12;

/// How far an example's probabilities may sum from one: rounding of `f32` values over a thousand classes.
const SUM_TOLERANCE: f64 = 1e-4;

/// Class probabilities of N examples over K classes, row-major (N, K); every row is a distribution.
#[derive(Clone, Debug, PartialEq)]
pub struct Probs {
    n: usize,
    k: usize,
    values: Vec<f64>,
}

impl Probs {
    /// Probabilities from `values` (N, K), row-major.
    ///
    /// # Errors
    /// Where `n` or `k` is zero, the length is not `n * k`, a value is outside [0, 1 + 1e-4], or a row does not sum to
    /// one (within 1e-4).
    pub fn new(n: usize, k: usize, values: Vec<f64>) -> Result<Self> {
        check_shape("probabilities", &[n, k], values.len())?;
        for (example, row) in values.chunks_exact(k).enumerate() {
            for (class, &value) in row.iter().enumerate() {
                if !(0.0..=1.0 + SUM_TOLERANCE).contains(&value) {
                    return Err(Error::NotProbability { example, class, value });
                }
            }
            let sum: f64 = row.iter().sum();
            if (sum - 1.0).abs() > SUM_TOLERANCE {
                return Err(Error::NotNormalised { example, sum });
            }
        }
        Ok(Self { n, k, values })
    }

    /// The ensemble's prediction from `logits` (M, N, K), member-major: softmax per member, then the mean over
    /// members, in `f64`.
    ///
    /// # Errors
    /// Where a dimension is zero, the length is not `m * n * k`, or a logit is not finite.
    pub fn mean_of_members(logits: &[f32], m: usize, n: usize, k: usize) -> Result<Self> {
        check_logits(logits, m, n, k)?;
        let mut values = vec![0.0; n * k];
        let mut probs = vec![0.0; k];
        for member in logits.chunks_exact(n * k) {
            for (row, mean) in member.chunks_exact(k).zip(values.chunks_exact_mut(k)) {
                softmax(row.iter().map(|&z| f64::from(z)), &mut probs);
                mean.iter_mut().zip(&probs).for_each(|(mean, p)| *mean += p);
            }
        }
        let scale = 1.0 / m as f64;
        values.iter_mut().for_each(|p| *p *= scale);
        Ok(Self { n, k, values })
    }

    /// The probabilities at temperature T: softmax(ln p / T) per example.
    ///
    /// # Errors
    /// Where `temperature` is not a finite number above zero.
    pub fn scaled(&self, temperature: f64) -> Result<Self> {
        if !(temperature.is_finite() && temperature > 0.0) {
            return Err(Error::Temperature(temperature));
        }
        let mut values = vec![0.0; self.values.len()];
        for (row, out) in self.rows().zip(values.chunks_exact_mut(self.k)) {
            softmax(row.iter().map(|p| log(*p) / temperature), out);
        }
        Ok(Self { n: self.n, k: self.k, values })
    }

    /// The number of examples N, at least 1.
    pub fn examples(&self) -> usize {
        self.n
    }

    /// The number of classes K, at least 1.
    pub fn classes(&self) -> usize {
        self.k
    }

    /// All probabilities (N, K), row-major.
    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// The distributions, one slice of K an example.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f64]> {
        self.values.chunks_exact(self.k)
    }

    /// The most probable class of each example, the lowest where several are, and its probability, (N).
    pub fn top(&self) -> impl ExactSizeIterator<Item = (usize, f64)> {
        self.rows().map(top1)
    }

    /// The largest probability of each example, (N).
    pub fn confidences(&self) -> Vec<f64> {
        self.top().map(|(_, p)| p).collect()
    }

    /// Each example's distribution with its label, after checking the labels.
    pub(crate) fn labelled<'a>(
        &'a self,
        labels: &'a [u32],
    ) -> Result<impl ExactSizeIterator<Item = (&'a [f64], usize)>> {
        if labels.len() != self.n {
            return Err(Error::LabelCount { examples: self.n, labels: labels.len() });
        }
        for (example, &label) in labels.iter().enumerate() {
            if label as usize >= self.k {
                return Err(Error::Label { example, label, classes: self.k });
            }
        }
        Ok(self.rows().zip(labels.iter().map(|&label| label as usize)))
    }
}

/// The most probable class, the lowest index where several are, and its probability. `row` is not empty.
pub(crate) fn top1(row: &[f64]) -> (usize, f64) {
    row.iter().copied().enumerate().fold(
        (0, f64::NEG_INFINITY),
        |best, (class, p)| {
            if p > best.1 { (class, p) } else { best }
        },
    )
}

/// Writes softmax(z) to `out` and returns ln sum_j exp(z_j), both stable for any finite maximum; minus infinity gives 0.
pub fn softmax(logits: impl Iterator<Item = f64>, out: &mut [f64]) -> f64 {
    let mut max = f64::NEG_INFINITY;
    for (out, z) in out.iter_mut().zip(logits) {
        *out = z;
        max = max.max(z);
    }
    let mut sum = 0.0;
    for z in out.iter_mut() {
        *z = exp(*z - max);
        sum += *z;
    }
    out.iter_mut().for_each(|exp| *exp /= sum);
    max + log(sum)
}

/// Checks that `logits` are finite and have the shape (M, N, K).
pub(crate) fn check_logits(logits: &[f32], m: usize, n: usize, k: usize) -> Result<()> {
    check_shape("logits", &[m, n, k], logits.len())?;
    match logits.iter().position(|z| !z.is_finite()) {
        None => Ok(()),
        Some(at) => Err(Error::NotFinite {
            member: at / (n * k),
            example: at / k % n,
            class: at % k,
            value: logits[at],
        }),
    }
}

fn check_shape(what: &'static str, shape: &[usize], found: usize) -> Result<()> {
    let product = shape.iter().try_fold(1_usize, |product, &dim| product.checked_mul(dim));
    match product {
        None | Some(0) => Err(Error::Shape { what, shape: shape.to_vec() }),
        Some(expected) if expected != found => {
            Err(Error::Length { what, shape: shape.to_vec(), expected, found })
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_averaged_after_the_softmax() {
        // By hand: softmax(ln 3, 0) = (3/4, 1/4), softmax(0, 0) = (1/2, 1/2).
        let probs = Probs::mean_of_members(&[3.0_f32.ln(), 0.0, 0.0, 0.0], 2, 1, 2).unwrap();
        assert!((probs.values()[0] - 0.625).abs() < 1e-7, "{probs:?}");
        assert!((probs.values()[1] - 0.375).abs() < 1e-7, "{probs:?}");
    }

    #[test]
    fn large_logits_do_not_overflow() {
        let probs = Probs::mean_of_members(&[3e38, -3e38, 0.0], 1, 1, 3).unwrap();
        assert_eq!(probs.values(), [1.0, 0.0, 0.0]);
        assert_eq!(probs.scaled(0.5).unwrap().values(), [1.0, 0.0, 0.0]);
    }

    #[test]
    fn scaling_divides_log_probabilities() {
        // By hand: (0.8, 0.2) at T = 1/2 is (0.64, 0.04) / 0.68.
        let probs = Probs::new(1, 2, vec![0.8, 0.2]).unwrap().scaled(0.5).unwrap();
        assert!((probs.values()[0] - 0.64 / 0.68).abs() < 1e-15);
        assert_eq!(probs.scaled(0.0), Err(Error::Temperature(0.0)));
        assert!(matches!(probs.scaled(f64::NAN), Err(Error::Temperature(_))));
    }

    #[test]
    fn ties_go_to_the_lowest_class() {
        assert_eq!(top1(&[0.2, 0.4, 0.4]), (1, 0.4));
    }

    #[test]
    fn errors_name_what_is_wrong() {
        let shape = Probs::mean_of_members(&[], 0, 1, 2).unwrap_err();
        assert_eq!(shape, Error::Shape { what: "logits", shape: vec![0, 1, 2] });
        let overflow = Probs::mean_of_members(&[], usize::MAX, 2, 2).unwrap_err();
        assert!(matches!(overflow, Error::Shape { .. }));
        let length = Probs::mean_of_members(&[0.0; 5], 1, 3, 2).unwrap_err();
        assert_eq!(
            length.to_string(),
            "logits of shape [1, 3, 2] need 6 values, found 5: pass the shape the values have"
        );
        let mut logits = [0.0; 12];
        logits[9] = f32::INFINITY;
        assert_eq!(
            Probs::mean_of_members(&logits, 2, 3, 2),
            Err(Error::NotFinite { member: 1, example: 1, class: 1, value: f32::INFINITY })
        );
        assert_eq!(
            Probs::new(1, 2, vec![1.5, -0.5]),
            Err(Error::NotProbability { example: 0, class: 0, value: 1.5 })
        );
        assert_eq!(
            Probs::new(2, 2, vec![0.5, 0.5, 0.5, 0.25]),
            Err(Error::NotNormalised { example: 1, sum: 0.75 })
        );
        assert!(matches!(Probs::new(1, 1, vec![f64::NAN]), Err(Error::NotProbability { .. })));
        let probs = Probs::new(1, 2, vec![0.5, 0.5]).unwrap();
        assert_eq!(probs.labelled(&[]).err(), Some(Error::LabelCount { examples: 1, labels: 0 }));
        assert_eq!(probs.labelled(&[2]).err(), Some(Error::Label { example: 0, label: 2, classes: 2 }));
    }
}
