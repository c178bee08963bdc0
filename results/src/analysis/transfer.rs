//! Whether perturbations that one teacher makes raise the diversity of others (figure 6).
//!
//! What is stored is a value a teacher, v_tm: under the perturbations of teacher t, the mean over images and over the ordered
//! pairs of different teachers one of which is m of their KL divergence. Every v_tm holds the pair of m and t, and so the
//! disagreement of the perturbing teacher itself. Whether ODS carries over is a question to the pairs without t. Their mean
//! follows from what is stored:
//!
//! ```text
//! u_t = (sum over m of v_tm - 2 v_tt) / (M - 2)
//! ```
//!
//! for the sum over m of (M - 1) v_tm counts every pair twice, (M - 1) v_tt counts those of t once, and there are
//! (M - 1) (M - 2) / 2 pairs without t. With M = 2 there is none.

use super::tensors::Matrix;

/// Diversity of teachers under ODS perturbations that one of them makes (figure 6).
///
/// The value of teacher m is the mean, over images and ordered pairs of different teachers one of which is m, of their
/// KL divergence in nats. Averaged over m it is the mean pairwise KL of all teachers, so the mean of a row is the
/// diversity under the perturbations of one teacher.
#[derive(Clone, Debug, PartialEq)]
pub struct Transfer {
    /// (M, M): row r, images perturbed by teacher r; column m, the value of teacher m. The diagonal is a teacher under
    /// its own perturbation.
    pub values: Matrix,
    /// (M): the values on clean images.
    pub clean: Vec<f32>,
}

impl Transfer {
    /// The mean pairwise KL of all teachers on clean images, nats. That of the pairs without teacher r, averaged over r, is
    /// the same number: every pair is without M - 2 of them.
    pub fn clean_mean(&self) -> Option<f64> {
        mean(self.clean.iter().map(|value| f64::from(*value)))
    }

    /// The mean KL of the pairs that contain the perturbing teacher, averaged over perturbing teachers, nats.
    pub fn own(&self) -> Option<f64> {
        mean(self.values.rows().enumerate().filter_map(|(r, row)| row.get(r).map(|value| f64::from(*value))))
    }

    /// The mean KL of the pairs without the perturbing teacher, averaged over perturbing teachers, nats; none with fewer than
    /// three teachers.
    pub fn foreign(&self) -> Option<f64> {
        let members = self.values.columns();
        let without = |(r, row): (usize, &[f32])| {
            let sum: f64 = row.iter().map(|value| f64::from(*value)).sum();
            row.get(r).map(|own| (sum - 2.0 * f64::from(*own)) / (members - 2) as f64)
        };
        if members < 3 { None } else { mean(self.values.rows().enumerate().filter_map(without)) }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values (M, M) and (M) that are stored of members whose logits (M, N, K) are `clean`, and `perturbed` by each.
    fn stored(clean: &[f32], perturbed: &[Vec<f32>], n: usize, k: usize) -> Transfer {
        let m = perturbed.len();
        let of = |logits: &[f32]| -> Vec<f32> {
            metrics::member_kl(logits, m, n, k).unwrap().into_iter().map(|kl| kl as f32).collect()
        };
        let values = perturbed.iter().flat_map(|logits| of(logits)).collect();
        Transfer { values: Matrix::new(m, values), clean: of(clean) }
    }

    /// Three teachers. Under teacher 1 the pairs 12, 13, 23 have the KLs 4, 6, 1: values (4 + 6) / 2, (4 + 1) / 2, (6 + 1) / 2.
    /// Under teacher 2 they have 8, 2, 10, under teacher 3 3, 5, 7. Without the perturbing teacher: 1, 2, 3, mean 2. With it:
    /// 5, 9, 6, mean 20/3.
    #[test]
    fn pairs_without_the_perturbing_teacher_by_hand() {
        let values = vec![5.0, 2.5, 3.5, 5.0, 9.0, 6.0, 4.0, 5.0, 6.0];
        let transfer = Transfer { values: Matrix::new(3, values), clean: vec![1.0, 2.0, 1.5] };
        assert!((transfer.foreign().unwrap() - 2.0).abs() < 1e-12, "{:?}", transfer.foreign());
        assert!((transfer.own().unwrap() - 20.0 / 3.0).abs() < 1e-12, "{:?}", transfer.own());
        assert!((transfer.clean_mean().unwrap() - 1.5).abs() < 1e-12);
    }

    #[test]
    fn two_teachers_have_no_pair_without_the_perturbing_one() {
        let transfer = Transfer { values: Matrix::new(2, vec![4.0; 4]), clean: vec![1.0; 2] };
        assert_eq!((transfer.foreign(), transfer.own(), transfer.clean_mean()), (None, Some(4.0), Some(1.0)));
    }

    /// Each teacher's perturbation turns its own prediction alone: others' values rise, for they have a pair with it, and the
    /// pairs without it stay what they are on clean images.
    #[test]
    fn a_perturbation_that_moves_only_its_maker_is_no_transfer() {
        let clean = [2.0, 0.0, 1.0, 0.5, 0.0, 0.3, 1.5, 0.2];
        let perturbed: Vec<Vec<f32>> = (0..4)
            .map(|r| {
                let mut logits = clean.to_vec();
                logits[2 * r..][..2].swap(0, 1);
                logits[2 * r] -= 5.0;
                logits
            })
            .collect();
        let transfer = stored(&clean, &perturbed, 1, 2);
        let (clean, foreign) = (transfer.clean_mean().unwrap(), transfer.foreign().unwrap());
        assert!((foreign - clean).abs() < 1e-6 * clean, "{foreign} {clean}");
        let others = mean(transfer.values.rows().enumerate().flat_map(|(r, row)| {
            row.iter().enumerate().filter(move |(m, _)| *m != r).map(|(_, value)| f64::from(*value))
        }));
        assert!(others.unwrap() > 2.0 * clean, "{others:?} {clean}");
    }
}
