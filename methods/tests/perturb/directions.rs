//! ODS and ConfODS as the protocol defines them (Methods: d, C_max, the steps and the clipping).

use candle_core::{Device, Tensor};
use methods::Streams;
use methods::perturb::ods;
use nn::Network;
use proptest::prelude::*;

use crate::fixture::{
    self, DIMENSION, Given, bits, cases, draws, edit, norms, probs, random_images, teacher, uniforms, values,
    weights,
};

/// A teacher of `classes`, and w for `batch` examples.
fn drawn(classes: usize, batch: usize, seed: u64) -> (Network, Vec<f32>) {
    (teacher(classes, seed), uniforms(&mut draws(seed ^ 1), batch * classes, -1.0, 1.0))
}

fn taus() -> impl Strategy<Value = f64> {
    prop_oneof![Just(1.0), Just(4.0)]
}

fn close(found: &Tensor, expected: &Tensor, tolerance: f32) -> bool {
    values(found).iter().zip(values(expected)).all(|(f, e)| (f - e).abs() <= tolerance)
}

proptest! {
    #![proptest_config(cases(24))]

    /// |x' - x| = eta sqrt(D), times C_max for ConfODS, where nothing is clipped; C_max = max p lies in [1/K, 1].
    #[test]
    fn steps_have_the_declared_length(
        seed in 0..1000_u64, classes in 2..=6_usize, batch in 1..=6_usize, tau in taus(), eta in 0.5..4.0_f64,
    ) {
        let (teacher, w) = drawn(classes, batch, seed);
        let images = random_images(seed, batch, 0.4, 0.6);
        let directions = ods(&[teacher], &images, &weights(&w), 1, tau).unwrap();
        let length = eta / 255.0 * (DIMENSION as f64).sqrt();
        let plain = norms(&(directions.perturb(eta).unwrap() - &images).unwrap());
        let scaled = norms(&(directions.perturb_by_confidence(eta).unwrap() - &images).unwrap());
        for (example, confidence) in values(&directions.confidence).into_iter().enumerate() {
            let confidence = f64::from(confidence);
            prop_assert!(confidence >= 1.0 / classes as f64 - 1e-6 && confidence <= 1.0 + 1e-6, "{confidence}");
            prop_assert!((norms(&directions.directions)[example] - 1.0).abs() < 1e-5);
            prop_assert!((plain[example] / length - 1.0).abs() < 1e-3, "{} {length}", plain[example]);
            prop_assert!((scaled[example] / (length * confidence) - 1.0).abs() < 1e-3, "{}", scaled[example]);
        }
    }

    #[test]
    fn confidence_is_the_largest_tempered_probability(seed in 0..1000_u64, classes in 2..=6_usize, tau in taus()) {
        let (teacher, w) = drawn(classes, 5, seed);
        let images = random_images(seed, 5, 0.0, 1.0);
        let expected = probs(&teacher, &images, tau);
        let directions = ods(&[teacher], &images, &weights(&w), 1, tau).unwrap();
        for (found, probs) in values(&directions.confidence).iter().zip(expected) {
            let largest = probs.iter().fold(0.0_f64, |max, p| max.max(*p));
            prop_assert!((f64::from(*found) - largest).abs() < 1e-5, "{found} {largest}");
        }
    }

    /// d depends on the direction of w alone; -w turns it around.
    #[test]
    fn the_scale_of_w_does_not_matter(seed in 0..1000_u64, scale in 0.01..100.0_f32, tau in taus()) {
        let (teacher, w) = drawn(4, 3, seed);
        let teachers = [teacher];
        let images = random_images(seed, 3, 0.0, 1.0);
        let direction = |factor: f32| {
            let w: Vec<f32> = w.iter().map(|v| v * factor).collect();
            ods(&teachers, &images, &weights(&w), 1, tau).unwrap().directions
        };
        let expected = direction(1.0);
        prop_assert!(close(&direction(scale), &expected, 1e-4));
        prop_assert!(close(&direction(-scale), &expected.neg().unwrap(), 1e-4));
    }

    /// Another order of the examples gives the same rows in that order.
    #[test]
    fn permuting_the_batch_permutes_the_result(seed in 0..1000_u64, tau in taus()) {
        let (teacher, w) = drawn(3, 5, seed);
        let teachers = [teacher];
        let images = random_images(seed, 5, 0.0, 1.0);
        let mut order: Vec<u32> = (0..5).collect();
        draws(seed).shuffle(&mut order);
        let order = Tensor::new(order, &Device::Cpu).unwrap();
        let moved = |tensor: &Tensor| tensor.index_select(&order, 0).unwrap();
        let moved_w = moved(&Tensor::from_slice(&w, (5, 3), &Device::Cpu).unwrap());
        let expected = ods(&teachers, &images, &weights(&w), 1, tau).unwrap();
        let found = ods(&teachers, &moved(&images), &weights(&values(&moved_w)), 1, tau).unwrap();
        prop_assert_eq!(bits(&found.directions), bits(&moved(&expected.directions)));
        prop_assert_eq!(bits(&found.confidence), bits(&moved(&expected.confidence)));
    }

    /// Names of classes do not matter: with the teacher's outputs and w in another order nothing changes.
    #[test]
    fn permuting_the_classes_changes_nothing(seed in 0..1000_u64, tau in taus()) {
        const CLASSES: usize = 5;
        let (one, w) = drawn(CLASSES, 3, seed);
        let other = teacher(CLASSES, seed);
        let mut order: Vec<usize> = (0..CLASSES).collect();
        draws(seed).shuffle(&mut order);
        let moved = |rows: &[f32]| -> Vec<f32> {
            let len = rows.len() / CLASSES;
            order.iter().flat_map(|&class| rows[class * len..][..len].to_vec()).collect()
        };
        edit(&other, |name, values| {
            if name.starts_with("classifier") {
                let reordered = moved(values);
                values.copy_from_slice(&reordered);
            }
        });
        let images = random_images(seed, 3, 0.0, 1.0);
        let expected = ods(&[one], &images, &weights(&w), 1, tau).unwrap();
        let moved_w: Vec<f32> = w.chunks(CLASSES).flat_map(moved).collect();
        let found = ods(&[other], &images, &weights(&moved_w), 1, tau).unwrap();
        prop_assert!(close(&found.directions, &expected.directions, 1e-4));
        prop_assert!(close(&found.confidence, &expected.confidence, 1e-5));
    }

    /// An example's result does not see the others, not even where they are NaN.
    #[test]
    fn examples_are_independent(seed in 0..1000_u64, tau in taus()) {
        let (teacher, w) = drawn(3, 4, seed);
        let teachers = [teacher];
        let mut pixels = values(&random_images(seed, 4, 0.0, 1.0));
        let result = |pixels: &[f32]| {
            let directions = ods(&teachers, &fixture::images(pixels.to_vec()), &weights(&w), 1, tau).unwrap();
            bits(&directions.perturb_by_confidence(4.0).unwrap().get(2).unwrap())
        };
        let expected = result(&pixels);
        for (other, value) in [(0, 0.0), (1, f32::NAN), (3, 1.0)] {
            pixels[other * DIMENSION..][..DIMENSION].fill(value);
        }
        prop_assert_eq!(result(&pixels), expected);
    }

    /// To first order: f(x) = w . softmax(T(x) / tau) grows along d, by |grad f|, and along any other unit vector v by
    /// |grad f| (d . v). Derivatives are central differences of f.
    #[test]
    fn the_direction_is_the_gradient(seed in 0..1000_u64, tau in taus()) {
        const STEP: f64 = 4e-3;
        let (teacher, w) = drawn(4, 1, seed);
        let image = random_images(seed, 1, 0.3, 0.7);
        let objective = |direction: &[f64], step: f64| -> f64 {
            let start = values(&image);
            let pixels = start.iter().zip(direction).map(|(x, d)| (f64::from(*x) + step * d) as f32);
            let probs = probs(&teacher, &fixture::images(pixels.collect()), tau);
            probs[0].iter().zip(&w).map(|(p, w)| p * f64::from(*w)).sum()
        };
        let derivative = |v: &[f64]| (objective(v, STEP) - objective(v, -STEP)) / (2.0 * STEP);
        let teachers = [fixture::teacher(4, seed)];
        let d = ods(&teachers, &image, &weights(&w), 1, tau).unwrap().directions;
        let d: Vec<f64> = values(&d).into_iter().map(f64::from).collect();
        let length = derivative(&d);
        prop_assert!(length > 0.0, "the objective falls along its direction: {length}");
        prop_assert!(objective(&d, STEP) > objective(&d, 0.0));
        let mut draws = draws(seed ^ 2);
        for _ in 0..4 {
            let v: Vec<f64> = (0..DIMENSION).map(|_| f64::from(draws.normal())).collect();
            let norm = v.iter().map(|v| v * v).sum::<f64>().sqrt();
            let v: Vec<f64> = v.iter().map(|v| v / norm).collect();
            let expected = length * v.iter().zip(&d).map(|(v, d)| v * d).sum::<f64>();
            let found = derivative(&v);
            // Kinks of the ReLUs within the step, and f32.
            prop_assert!((found - expected).abs() < 0.1 * length + 1e-3, "{found} {expected} of {length}");
        }
    }

    #[test]
    fn perturbed_images_are_images(seed in 0..1000_u64, eta in 0.0..255.0_f64) {
        let (teacher, w) = drawn(3, 4, seed);
        let images = random_images(seed, 4, -0.3, 1.3).clamp(0.0, 1.0).unwrap();
        let directions = ods(&[teacher], &images, &weights(&w), 1, 1.0).unwrap();
        for perturbed in [directions.perturb(eta).unwrap(), directions.perturb_by_confidence(eta).unwrap()] {
            prop_assert!(values(&perturbed).iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }
}

/// Zero gradients, from w = 0 or from a teacher that gives every image the same: no step, and nothing that is not finite.
#[test]
fn a_zero_gradient_gives_no_step() {
    let images = random_images(1, 3, 0.0, 1.0);
    let (blind, w) = drawn(3, 3, 1);
    edit(&blind, |name, values| {
        if name == "classifier.fc.weight" {
            values.fill(0.0);
        }
    });
    for (teacher, w) in [(blind, w), (teacher(3, 1), vec![0.0; 9])] {
        let directions = ods(&[teacher], &images, &weights(&w), 1, 1.0).unwrap();
        assert!(values(&directions.directions).iter().all(|v| *v == 0.0));
        assert_eq!(bits(&directions.perturb(8.0).unwrap()), bits(&images));
        assert_eq!(bits(&directions.perturb_by_confidence(8.0).unwrap()), bits(&images));
    }
}

/// A teacher so sure that its probabilities are 0 and 1 in f32 has a gradient that underflows: still finite.
#[test]
fn a_certain_teacher_gives_finite_images() {
    let (certain, w) = drawn(3, 8, 2);
    edit(&certain, |name, values| {
        if name.starts_with("classifier") {
            values.iter_mut().for_each(|v| *v *= 1e3);
        }
    });
    let directions = ods(&[certain], &random_images(2, 8, 0.0, 1.0), &weights(&w), 1, 1.0).unwrap();
    assert!(values(&directions.directions).iter().all(|v| v.is_finite()));
    assert!(norms(&directions.directions).iter().all(|norm| *norm < 1.0 + 1e-5));
    assert!(values(&directions.confidence).contains(&1.0));
}

/// Group g of G takes images g B / G .. (g + 1) B / G, and its own teacher.
#[test]
fn each_group_has_its_teacher() {
    let teachers = [teacher(3, 1), teacher(3, 2), teacher(3, 3)];
    let images = random_images(4, 5, 0.0, 1.0);
    let w = uniforms(&mut draws(4), 15, -1.0, 1.0);
    let chosen = vec![2, 0, 2];
    let found = ods(&teachers, &images, &Given { teachers: chosen, values: w.clone() }, 3, 4.0).unwrap();
    for (rows, teacher) in [(0..1, 2), (1..3, 0), (3..5, 2)] {
        let part = images.narrow(0, rows.start, rows.len()).unwrap();
        let noise = Given { teachers: vec![teacher], values: w[rows.start * 3..rows.end * 3].to_vec() };
        let expected = ods(&teachers, &part, &noise, 1, 4.0).unwrap();
        let narrow = |tensor: &Tensor| tensor.narrow(0, rows.start, rows.len()).unwrap();
        assert_eq!(bits(&narrow(&found.directions)), bits(&expected.directions));
        assert_eq!(bits(&narrow(&found.confidence)), bits(&expected.confidence));
    }
    assert_eq!(bits(&found.images), bits(&images));
}

#[test]
fn no_teacher_is_an_error() {
    let images = random_images(4, 2, 0.0, 1.0);
    let w = uniforms(&mut draws(4), 6, -1.0, 1.0);
    assert!(ods(&[], &images, &Streams { seed: 0, epoch: 1, step: 0 }, 1, 1.0).is_err());
    let outside = Given { teachers: vec![1], values: w };
    assert!(ods(&[teacher(3, 1)], &images, &outside, 1, 1.0).is_err());
}

/// An image of one value everywhere, black and white included, is perturbed like any other: finite, and within [0, 1].
#[test]
fn a_constant_image_gives_finite_images() {
    for value in [0.0, 0.5, 1.0] {
        let (teacher, w) = drawn(3, 4, 5);
        let images = random_images(5, 4, value, value + 1e-6).clamp(value, value).unwrap();
        let directions = ods(&[teacher], &images, &weights(&w), 1, 1.0).unwrap();
        assert!(norms(&directions.directions).iter().all(|norm| *norm < 1.0 + 1e-5));
        for perturbed in [directions.perturb(8.0).unwrap(), directions.perturb_by_confidence(8.0).unwrap()] {
            assert!(values(&perturbed).iter().all(|v| (0.0..=1.0).contains(v)));
        }
    }
}
