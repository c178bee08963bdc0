//! Properties that hold for any predictions.

use metrics::{
    BINS, Binned, Examples, Probs, TACE_THRESHOLD, TEMPERATURE_RANGE, acc, ace, bs, dee, ece, entropy,
    fit_temperature, mean_pairwise_disagreement, mean_pairwise_kl, member_kl, nll, pairwise_disagreement,
    pairwise_kl, resampled_mean, sce, score, tace,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Member logits (M, N, K) with labels: (logits, m, n, k, labels).
fn predictions() -> impl Strategy<Value = (Vec<f32>, usize, usize, usize, Vec<u32>)> {
    (1_usize..4, 1_usize..40, 1_usize..7).prop_flat_map(|(m, n, k)| {
        (vec(-30.0_f32..30.0, m * n * k), Just(m), Just(n), Just(k), vec(0..k as u32, n))
    })
}

/// The examples (N, K) of `probs` at `order`, with their labels.
fn reordered(probs: &Probs, labels: &[u32], order: &[usize]) -> (Probs, Vec<u32>) {
    let rows: Vec<&[f64]> = probs.rows().collect();
    let values = order.iter().flat_map(|&i| rows[i].iter().copied()).collect();
    let labels = order.iter().map(|&i| labels[i]).collect();
    (Probs::new(order.len(), probs.classes(), values).unwrap(), labels)
}

proptest! {
    #[test]
    fn scores_are_within_their_bounds((logits, m, n, k, labels) in predictions(), t in 0.05_f64..20.0) {
        let probs = Probs::mean_of_members(&logits, m, n, k).unwrap();
        let s = score(&probs, &labels, t).unwrap();
        let slack = 1e-9;
        for (name, value, high) in [
            ("acc", s.acc, 1.0),
            ("nll", s.nll, -(1e-12_f64.ln())),
            ("bs", s.bs, 2.0),
            ("ece", s.ece, 1.0),
            ("cnll", s.cnll, -(1e-12_f64.ln())),
            ("cbs", s.cbs, 2.0),
            ("cece", s.cece, 1.0),
            ("sce", s.sce, 1.0),
            ("ace", s.ace, 1.0),
            ("tace", s.tace, 1.0),
            ("entropy", s.entropy, (k as f64).ln()),
        ] {
            prop_assert!((-slack..=high + slack).contains(&value), "{} = {}", name, value);
        }
    }

    #[test]
    fn the_examples_order_does_not_matter(
        (logits, m, n, k, labels) in predictions(),
        keys in vec(any::<u32>(), 40),
    ) {
        let probs = Probs::mean_of_members(&logits, m, n, k).unwrap();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|&i| keys[i]);
        let (other, other_labels) = reordered(&probs, &labels, &order);
        let (a, b) = (score(&probs, &labels, 1.5).unwrap(), score(&other, &other_labels, 1.5).unwrap());
        for (name, a, b) in [
            ("acc", a.acc, b.acc), ("nll", a.nll, b.nll), ("bs", a.bs, b.bs), ("ece", a.ece, b.ece),
            ("cece", a.cece, b.cece), ("sce", a.sce, b.sce), ("ace", a.ace, b.ace), ("tace", a.tace, b.tace),
            ("entropy", a.entropy, b.entropy),
        ] {
            prop_assert!((a - b).abs() < 1e-9, "{}: {} and {}", name, a, b);
        }
    }

    /// Few distinct probabilities, so that ties lie across the edges of equal-mass bins.
    #[test]
    fn ties_do_not_depend_on_the_order(labels in vec(0_u32..2, 1..60), keys in vec(any::<u32>(), 60)) {
        let n = labels.len();
        let first = (0..n).map(|i| [0.25, 0.5, 0.75][keys[i] as usize % 3]);
        let probs = Probs::new(n, 2, first.flat_map(|p| [p, 1.0 - p]).collect()).unwrap();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|&i| keys[i]);
        let (other, other_labels) = reordered(&probs, &labels, &order);
        prop_assert!((ace(&probs, &labels, BINS).unwrap() - ace(&other, &other_labels, BINS).unwrap()).abs() < 1e-12);
        prop_assert!((ece(&probs, &labels, BINS).unwrap() - ece(&other, &other_labels, BINS).unwrap()).abs() < 1e-12);
    }

    /// With one bin every calibration error is the same plain sum, which is written out here.
    #[test]
    fn one_bin_is_the_overall_gap((logits, m, n, k, labels) in predictions()) {
        let probs = Probs::mean_of_members(&logits, m, n, k).unwrap();
        let per_class: f64 = (0..k)
            .map(|class| {
                let confidence: f64 = probs.rows().map(|row| row[class]).sum();
                let hits = labels.iter().filter(|label| **label as usize == class).count() as f64;
                (confidence - hits).abs()
            })
            .sum::<f64>() / (n * k) as f64;
        prop_assert!((sce(&probs, &labels, 1).unwrap() - per_class).abs() < 1e-9);
        prop_assert!((ace(&probs, &labels, 1).unwrap() - per_class).abs() < 1e-9);
    }

    /// Splitting bins can only separate over- from underconfidence, never cancel it.
    #[test]
    fn finer_bins_never_lower_the_error((logits, m, n, k, labels) in predictions()) {
        let probs = Probs::mean_of_members(&logits, m, n, k).unwrap();
        prop_assert!(ece(&probs, &labels, 3).unwrap() <= ece(&probs, &labels, 15).unwrap() + 1e-9);
        prop_assert!(sce(&probs, &labels, 5).unwrap() <= sce(&probs, &labels, 15).unwrap() + 1e-9);
    }

    #[test]
    fn equal_mass_bins_match_a_plain_count((logits, m, n, k, labels) in predictions(), bins in 1_usize..20) {
        let probs = Probs::mean_of_members(&logits, m, n, k).unwrap();
        let mut total = 0.0;
        for class in 0..k {
            let mut kept: Vec<(f64, bool)> =
                probs.rows().zip(&labels).map(|(row, y)| (row[class], *y as usize == class)).collect();
            kept.retain(|(p, _)| *p > TACE_THRESHOLD);
            // Hits last among equals, as documented: the sum over a bin is otherwise not defined.
            kept.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let size = kept.len() / bins;
            for bin in 0..bins {
                let end = if bin + 1 == bins { kept.len() } else { (bin + 1) * size };
                let mut gap = 0.0;
                for (p, hit) in &kept[bin * size..end] {
                    gap += p - if *hit { 1.0 } else { 0.0 };
                }
                total += gap.abs();
            }
        }
        let found = tace(&probs, &labels, bins, TACE_THRESHOLD).unwrap();
        prop_assert!((found - total / (n * k) as f64).abs() < 1e-9);
    }

    #[test]
    fn the_fitted_temperature_never_raises_validation_nll((logits, m, n, k, labels) in predictions()) {
        let probs = Probs::mean_of_members(&logits, m, n, k).unwrap();
        let t = fit_temperature(&probs, &labels).unwrap();
        prop_assert!(TEMPERATURE_RANGE.0 <= t && t <= TEMPERATURE_RANGE.1, "{}", t);
        let fitted = nll(&probs.scaled(t).unwrap(), &labels).unwrap();
        // The objective smooths p by 1e-12 before scaling, the score does not: p_y at that size may differ.
        let smallest = probs.rows().zip(&labels).map(|(row, y)| row[*y as usize]).fold(1.0, f64::min);
        if smallest > 1e-6 {
            prop_assert!(fitted <= nll(&probs, &labels).unwrap() + 1e-5, "T {} raised it to {}", t, fitted);
        }
    }

    /// The fit finds what a dense scan of the same objective finds.
    #[test]
    fn no_other_temperature_is_better((logits, m, n, k, labels) in predictions()) {
        let probs = Probs::mean_of_members(&logits, m, n, k).unwrap();
        let smooth = |t: f64| {
            let mut sum = 0.0;
            for (row, label) in probs.rows().zip(&labels) {
                let weights: Vec<f64> = row.iter().map(|p| (1e-12 + p).powf(1.0 / t)).collect();
                sum -= (1e-12 + weights[*label as usize] / weights.iter().sum::<f64>()).ln();
            }
            sum / n as f64
        };
        let best = smooth(fit_temperature(&probs, &labels).unwrap());
        for i in 0..=60 {
            let t = 0.1 * 100.0_f64.powf(f64::from(i) / 60.0);
            prop_assert!(best <= smooth(t) + 1e-6, "T {} gives {}, the fit {}", t, smooth(t), best);
        }
    }

    #[test]
    fn scaling_keeps_the_prediction_and_temperature_one_everything(
        (logits, m, n, k, _) in predictions(),
        t in 0.1_f64..10.0,
    ) {
        let probs = Probs::mean_of_members(&logits, m, n, k).unwrap();
        let same = probs.scaled(1.0).unwrap();
        for (a, b) in probs.values().iter().zip(same.values()) {
            prop_assert!((a - b).abs() < 1e-12);
        }
        let hotter = probs.scaled(t * 2.0).unwrap();
        prop_assert!(entropy(&hotter) >= entropy(&probs.scaled(t).unwrap()) - 1e-9);
        let sums = hotter.rows().map(|row| row.iter().sum::<f64>());
        prop_assert!(sums.into_iter().all(|sum| (sum - 1.0).abs() < 1e-9));
    }

    #[test]
    fn diversity_is_not_negative_and_knows_no_order_of_members((logits, m, n, k, _) in predictions()) {
        let kl = pairwise_kl(&logits, m, n, k).unwrap();
        prop_assert!(kl.iter().all(|v| *v >= -1e-12));
        let mut reversed = Vec::new();
        for member in logits.chunks(n * k).rev() {
            reversed.extend_from_slice(member);
        }
        for (a, b) in kl.iter().zip(pairwise_kl(&reversed, m, n, k).unwrap()) {
            prop_assert!((a - b).abs() < 1e-9);
        }
        let copies = logits[..n * k].repeat(3);
        prop_assert!(pairwise_kl(&copies, 3, n, k).unwrap().iter().all(|v| *v == 0.0));
    }

    /// Pinsker's inequality, KL(p, q) >= ||p - q||_1^2 / 2, so that only equal predictions have no diversity. Averaged over
    /// ordered pairs of members, as the divergence is.
    #[test]
    fn no_diversity_means_equal_predictions((logits, m, n, k, _) in predictions()) {
        let kl = pairwise_kl(&logits, m, n, k).unwrap();
        let members: Vec<Probs> =
            logits.chunks(n * k).map(|member| Probs::mean_of_members(member, 1, n, k).unwrap()).collect();
        for (example, kl) in kl.iter().enumerate() {
            let row = |member: usize| members[member].rows().nth(example).unwrap();
            let pairs = (0..m).flat_map(|i| (0..m).map(move |j| (i, j))).filter(|(i, j)| i != j);
            let bound: f64 = pairs
                .map(|(i, j)| row(i).iter().zip(row(j)).map(|(p, q)| (p - q).abs()).sum::<f64>().powi(2) / 2.0)
                .sum();
            let pairs = (m * m.saturating_sub(1)).max(1) as f64;
            prop_assert!(*kl >= bound / pairs - 1e-9, "{} below {}", kl, bound / pairs);
        }
    }

    /// A share of pairs, zero for copies, whatever the order of examples and members, and at any temperature of each member.
    /// (Temperatures are powers of two, which round no logit into a tie.)
    #[test]
    fn disagreement_is_about_the_classes_alone(
        (logits, m, n, k, _) in predictions(),
        keys in vec(any::<u32>(), 40),
        powers in vec(-3_i32..4, 4),
    ) {
        let found = pairwise_disagreement(&logits, m, n, k).unwrap();
        prop_assert!(found.iter().all(|share| (0.0..=1.0).contains(share)));
        let mean = mean_pairwise_disagreement(&logits, m, n, k).unwrap();
        prop_assert!((mean - found.iter().sum::<f64>() / n as f64).abs() < 1e-12);
        let copies = logits[..n * k].repeat(3);
        prop_assert_eq!(mean_pairwise_disagreement(&copies, 3, n, k).unwrap(), 0.0);

        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|&i| keys[i]);
        let mut other = Vec::new();
        for (member, power) in logits.chunks(n * k).zip(&powers).rev() {
            for &example in &order {
                other.extend(member[example * k..][..k].iter().map(|z| z * 2.0_f32.powi(*power)));
            }
        }
        let moved = pairwise_disagreement(&other, m, n, k).unwrap();
        for (share, &example) in moved.iter().zip(&order) {
            prop_assert_eq!(*share, found[example]);
        }
    }

    #[test]
    fn equivalents_are_exact_on_the_curve_and_rise_with_quality(
        drops in vec(0.001_f64..0.2, 1..6),
        values in (0.0_f64..3.0, 0.0_f64..3.0),
    ) {
        let curve: Vec<f64> = drops.iter().scan(2.0, |at, drop| { *at -= drop; Some(*at) }).collect();
        for (n, &value) in curve.iter().enumerate() {
            prop_assert_eq!(dee(&curve, value).unwrap().value, (n + 1) as f64);
        }
        let (better, worse) = (values.0.min(values.1), values.0.max(values.1));
        let (better, worse) = (dee(&curve, better).unwrap(), dee(&curve, worse).unwrap());
        prop_assert!(better.value >= worse.value);
        prop_assert!(better.at_least || !worse.at_least);
        prop_assert!((1.0..=curve.len() as f64).contains(&better.value));
    }

    #[test]
    fn a_sharp_right_answer_scores_zero(labels in vec(0_u32..5, 1..30)) {
        let mut values = vec![0.0; labels.len() * 5];
        for (row, label) in values.chunks_mut(5).zip(&labels) {
            row[*label as usize] = 1.0;
        }
        let probs = Probs::new(labels.len(), 5, values).unwrap();
        prop_assert_eq!(bs(&probs, &labels).unwrap(), 0.0);
        prop_assert_eq!(ece(&probs, &labels, BINS).unwrap(), 0.0);
        prop_assert!(nll(&probs, &labels).unwrap().abs() < 1e-11);
    }
}

proptest! {
    /// Shares sum to one, and the bins' means weighted by them are the plain mean: of values and of confidences.
    #[test]
    fn bins_lose_nothing(pairs in vec((0.0_f64..=1.0, -5.0_f64..5.0), 1..200), bins in 1_usize..30) {
        let binned = Binned::new(pairs.iter().copied(), bins);
        prop_assert!((binned.share.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let mean = pairs.iter().map(|(_, value)| value).sum::<f64>() / pairs.len() as f64;
        prop_assert!((binned.mean() - mean).abs() < 1e-9, "{} {}", binned.mean(), mean);
        let confidence: f64 =
            binned.share.iter().zip(&binned.confidence).map(|(share, c)| share * c.unwrap_or(0.0)).sum();
        let mean = pairs.iter().map(|(confidence, _)| confidence).sum::<f64>() / pairs.len() as f64;
        prop_assert!((confidence - mean).abs() < 1e-9);
        for (bin, (share, confidence)) in binned.share.iter().zip(&binned.confidence).enumerate() {
            prop_assert_eq!(*share > 0.0, confidence.is_some());
            let (low, high) = (bin as f64 / bins as f64, (bin + 1) as f64 / bins as f64);
            prop_assert!(confidence.is_none_or(|c| c >= low - 1e-12 && c <= high + 1e-12));
        }
    }

    #[test]
    fn bins_do_not_depend_on_the_order(
        pairs in vec((0.0_f64..=1.0, -5.0_f64..5.0), 1..100),
        keys in vec(any::<u32>(), 100),
    ) {
        let mut order: Vec<usize> = (0..pairs.len()).collect();
        order.sort_by_key(|&i| keys[i]);
        let (a, b) = (Binned::new(pairs.iter().copied(), 10), Binned::new(order.iter().map(|&i| pairs[i]), 10));
        prop_assert_eq!(&a.share, &b.share);
        for (a, b) in a.value.iter().zip(&b.value) {
            prop_assert!((a.unwrap_or(0.0) - b.unwrap_or(0.0)).abs() < 1e-9);
        }
    }

    /// The bins are those of the calibration error.
    #[test]
    fn bins_give_the_calibration_error((logits, m, n, k, labels) in predictions()) {
        let probs = Probs::mean_of_members(&logits, m, n, k).unwrap();
        let hits = probs.rows().zip(&labels).map(|(row, label)| {
            let top = row.iter().copied().fold(0.0, f64::max);
            f64::from(u8::from(row.iter().position(|p| *p == top) == Some(*label as usize)))
        });
        let binned = Binned::new(probs.confidences().into_iter().zip(hits), BINS);
        let gaps = (0..BINS).map(|b| {
            binned.share[b] * (binned.confidence[b].unwrap_or(0.0) - binned.value[b].unwrap_or(0.0)).abs()
        });
        prop_assert!((gaps.sum::<f64>() - ece(&probs, &labels, BINS).unwrap()).abs() < 1e-9);
    }

    /// A resample's scores are those of a data set that repeats its examples; each example once gives the scores.
    #[test]
    fn resampled_scores_are_those_of_repeated_examples(
        (logits, m, n, k, labels) in predictions(),
        counts in vec(0_u32..4, 40),
    ) {
        let probs = Probs::mean_of_members(&logits, m, n, k).unwrap();
        let examples = Examples::new(&probs, &labels).unwrap();
        let counts = &counts[..n];
        for counts in [&vec![1; n][..], counts] {
            let order: Vec<usize> = (0..n).flat_map(|i| vec![i; counts[i] as usize]).collect();
            let found = examples.resampled(counts);
            if order.is_empty() {
                prop_assert!(found.nll.is_nan());
                continue;
            }
            let (probs, labels) = reordered(&probs, &labels, &order);
            for (name, found, expected) in [
                ("acc", found.acc, acc(&probs, &labels).unwrap()),
                ("nll", found.nll, nll(&probs, &labels).unwrap()),
                ("bs", found.bs, bs(&probs, &labels).unwrap()),
                ("ece", found.ece, ece(&probs, &labels, BINS).unwrap()),
            ] {
                prop_assert!((found - expected).abs() < 1e-9, "{}: {} {}", name, found, expected);
            }
            let kl = vec![2.5; n];
            prop_assert!((resampled_mean(&kl, counts) - 2.5).abs() < 1e-12);
        }
    }

    /// A member's diversity averages to that of all pairs, and follows the members.
    #[test]
    fn members_share_the_diversity((logits, m, n, k, _) in predictions()) {
        let members = member_kl(&logits, m, n, k).unwrap();
        let mean = members.iter().sum::<f64>() / m as f64;
        let expected = mean_pairwise_kl(&logits, m, n, k).unwrap();
        prop_assert!((mean - expected).abs() <= 1e-9 * expected.max(1.0), "{} {}", mean, expected);
        let turned: Vec<f32> = logits[n * k..].iter().chain(&logits[..n * k]).copied().collect();
        let turned = member_kl(&turned, m, n, k).unwrap();
        prop_assert!((turned[m - 1] - members[0]).abs() <= 1e-9 * members[0].max(1.0));
    }
}
