//! Diversity of an ensemble's members, pair by pair: the Kullback-Leibler divergence between their predictions (the
//! paper's figure 3), and whether they disagree on the class.
//!
//! The divergence at temperature 1 grows with how sharp the members are, even where they name the same classes. The
//! disagreement asks for the classes alone: it is the measure of Skalak (1996) and, as a share of the examples, of Fort, Hu
//! and Lakshminarayanan (*Deep Ensembles: A Loss Landscape Perspective*, 2019, not divided by the error here).

use crate::Result;
use crate::probs::{check_logits, softmax};

/// Pairwise KL diversity of each example in nats, (N): the mean over ordered pairs i != j of
/// sum_k p_j ln(p_j / p_i), from `logits` (M, N, K), member-major. Zero for a single member.
///
/// Computed from log-probabilities, so that a confident member gives large and finite values.
///
/// # Errors
/// Where a dimension is zero, the length is not `m * n * k`, or a logit is not finite.
pub fn pairwise_kl(logits: &[f32], m: usize, n: usize, k: usize) -> Result<Vec<f64>> {
    let mut per_example = Vec::new();
    for_each_example(logits, m, n, k, |members| {
        let sum: f64 = ordered_pairs(m).map(|(i, j)| members[j].kl(&members[i])).sum();
        per_example.push(sum / (m * (m - 1)).max(1) as f64);
    })?;
    Ok(per_example)
}

/// How much each member differs from the others, (M): the mean, over examples and the ordered pairs of different members
/// one of which it is, of their KL divergence in nats, from `logits` (M, N, K), member-major. The mean over members is
/// [`mean_pairwise_kl`]. Zero for a single member.
///
/// # Errors
/// As [`pairwise_kl`].
pub fn member_kl(logits: &[f32], m: usize, n: usize, k: usize) -> Result<Vec<f64>> {
    check_logits(logits, m, n, k)?;
    let mut sums = vec![0.0; m];
    for_each_example(logits, m, n, k, |members| {
        for (i, j) in ordered_pairs(m) {
            let kl = members[j].kl(&members[i]);
            sums[i] += kl;
            sums[j] += kl;
        }
    })?;
    let pairs = (2 * n * m.saturating_sub(1)).max(1) as f64;
    Ok(sums.into_iter().map(|sum| sum / pairs).collect())
}

/// One member's prediction for an example.
#[derive(Clone)]
struct Member {
    probs: Vec<f64>,
    log_probs: Vec<f64>,
}

impl Member {
    fn set(&mut self, logits: &[f32]) {
        let logits = || logits.iter().map(|&z| f64::from(z));
        let log_sum = softmax(logits(), &mut self.probs);
        self.log_probs.iter_mut().zip(logits()).for_each(|(log_p, z)| *log_p = z - log_sum);
    }

    /// sum_k p_k (ln p_k - ln q_k) for this member's p and `other`'s q; a class with p_k = 0 adds nothing.
    fn kl(&self, other: &Self) -> f64 {
        let logs = self.log_probs.iter().zip(&other.log_probs);
        self.probs.iter().zip(logs).map(|(p, (log_p, log_q))| p * (log_p - log_q)).sum()
    }
}

/// Calls `f` with the predictions of the members for each example.
fn for_each_example(
    logits: &[f32],
    m: usize,
    n: usize,
    k: usize,
    mut f: impl FnMut(&[Member]),
) -> Result<()> {
    check_logits(logits, m, n, k)?;
    let mut members = vec![Member { probs: vec![0.0; k], log_probs: vec![0.0; k] }; m];
    for example in 0..n {
        for (logits, member) in logits.chunks_exact(n * k).zip(&mut members) {
            member.set(&logits[example * k..][..k]);
        }
        f(&members);
    }
    Ok(())
}

/// (i, j) with i != j, both below `m`.
fn ordered_pairs(m: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..m).flat_map(move |j| (0..m).filter(move |i| *i != j).map(move |i| (i, j)))
}

/// The mean of [`pairwise_kl`] over examples.
///
/// # Errors
/// As [`pairwise_kl`].
pub fn mean_pairwise_kl(logits: &[f32], m: usize, n: usize, k: usize) -> Result<f64> {
    Ok(pairwise_kl(logits, m, n, k)?.iter().sum::<f64>() / n as f64)
}

/// Pairwise disagreement of each example, in [0, 1], (N): the share of the pairs of members whose top classes differ, from
/// `logits` (M, N, K), member-major. Of several largest logits the lowest class is the top. Zero for a single member. It does
/// not depend on any member's temperature.
///
/// # Errors
/// As [`pairwise_kl`].
pub fn pairwise_disagreement(logits: &[f32], m: usize, n: usize, k: usize) -> Result<Vec<f64>> {
    check_logits(logits, m, n, k)?;
    let tops: Vec<usize> = logits.chunks_exact(k).map(top).collect();
    let share = |example: usize| {
        let differ = ordered_pairs(m).filter(|(i, j)| tops[i * n + example] != tops[j * n + example]);
        differ.count() as f64 / (m * (m - 1)).max(1) as f64
    };
    Ok((0..n).map(share).collect())
}

/// The mean of [`pairwise_disagreement`] over examples: the share of examples on which two members differ, averaged over
/// pairs.
///
/// # Errors
/// As [`pairwise_kl`].
pub fn mean_pairwise_disagreement(logits: &[f32], m: usize, n: usize, k: usize) -> Result<f64> {
    Ok(pairwise_disagreement(logits, m, n, k)?.iter().sum::<f64>() / n as f64)
}

/// The class of the largest logit, the lowest where several are.
fn top(logits: &[f32]) -> usize {
    let larger = |best: usize, class: usize| if logits[class] > logits[best] { class } else { best };
    (0..logits.len()).fold(0, larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_by_hand() {
        // p_1 = (1/2, 1/2), p_2 = (3/4, 1/4): KL(p_1, p_2) = ln(2/3)/2 + ln(2)/2 = ln(4/3)/2,
        // KL(p_2, p_1) = 3/4 ln(3/2) + 1/4 ln(1/2).
        let expected = ((4.0_f64 / 3.0).ln() / 2.0 + 0.75 * 1.5_f64.ln() + 0.25 * 0.5_f64.ln()) / 2.0;
        let kl = pairwise_kl(&[0.0, 0.0, 3.0_f32.ln(), 0.0], 2, 1, 2).unwrap();
        assert!((kl[0] - expected).abs() < 1e-7, "{kl:?}");
    }

    #[test]
    fn confident_members_give_finite_values() {
        // Opposite one-hot predictions at logit distance 2000: the KL is 2000 to rounding, not infinite.
        let kl = pairwise_kl(&[1000.0, -1000.0, -1000.0, 1000.0], 2, 1, 2).unwrap();
        assert!((kl[0] - 2000.0).abs() < 1e-9, "{kl:?}");
    }

    /// Three members, two of which agree: theirs is half of the third's, and the mean over members that of all pairs.
    #[test]
    fn a_member_that_differs_has_the_most() {
        let logits = [5.0, 0.0, 5.0, 0.0, 0.0, 5.0];
        let members = member_kl(&logits, 3, 1, 2).unwrap();
        assert!((members[0] - members[1]).abs() < 1e-12 && (members[2] - 2.0 * members[0]).abs() < 1e-12);
        let mean = mean_pairwise_kl(&logits, 3, 1, 2).unwrap();
        assert!((members.iter().sum::<f64>() / 3.0 - mean).abs() < 1e-12, "{members:?} {mean}");
    }

    /// Three members on two examples: on the first two of three pairs differ, on the second, where ties go to the lowest
    /// class, none.
    #[test]
    fn disagreement_by_hand() {
        let logits =
            [[5.0, 0.0, /**/ 1.0, 1.0], [0.1, 0.0, /**/ 9.0, 0.0], [0.0, 0.1, /**/ 2.0, 2.0]].concat();
        let found = pairwise_disagreement(&logits, 3, 2, 2).unwrap();
        assert!((found[0] - 2.0 / 3.0).abs() < 1e-15 && found[1] == 0.0, "{found:?}");
        assert!((mean_pairwise_disagreement(&logits, 3, 2, 2).unwrap() - 1.0 / 3.0).abs() < 1e-15);
        assert!(pairwise_disagreement(&[0.0; 7], 2, 2, 2).is_err());
    }

    #[test]
    fn one_member_has_no_diversity() {
        assert_eq!(pairwise_disagreement(&[0.0, 1.0, 2.0, 3.0], 1, 2, 2).unwrap(), [0.0, 0.0]);
        assert_eq!(pairwise_kl(&[0.0, 1.0, 2.0, 3.0], 1, 2, 2).unwrap(), [0.0, 0.0]);
        assert_eq!(member_kl(&[0.0, 1.0, 2.0, 3.0], 1, 2, 2).unwrap(), [0.0]);
    }

    #[test]
    fn members_come_first() {
        // Members agree on the first example and differ on the second.
        let kl = pairwise_kl(&[5.0, 0.0, 5.0, 0.0, 5.0, 0.0, 0.0, 5.0], 2, 2, 2).unwrap();
        assert_eq!(kl[0], 0.0);
        assert!(kl[1] > 4.0);
        assert!(
            (mean_pairwise_kl(&[5.0, 0.0, 5.0, 0.0, 5.0, 0.0, 0.0, 5.0], 2, 2, 2).unwrap() - kl[1] / 2.0)
                .abs()
                < 1e-15
        );
        assert!(pairwise_kl(&[0.0; 7], 2, 2, 2).is_err());
    }
}
