//! The first-order approximation of Section 3.2: T(x + e) = T(x) + J e + O(|e|^2).

use candle_core::{Tensor, Var};
use nn::loss::tempered_probs;
use nn::{Mode, Network};

use crate::fixture::{self, DIMENSION, draws, probs, random_images, slope, smooth_teacher, values};

/// J (K rows of D): the gradient of each tempered probability by the image.
fn jacobian(teacher: &Network, image: &Tensor, classes: usize, tau: f64) -> Vec<Vec<f32>> {
    let x = Var::from_tensor(image).unwrap();
    let logits = teacher.frozen_logits(&x, Mode::Eval).unwrap();
    let probs = tempered_probs(&logits, tau).unwrap();
    let row = |class| {
        let gradients = probs.narrow(2, class, 1).unwrap().sum_all().unwrap().backward().unwrap();
        values(gradients.get(&x).unwrap())
    };
    (0..classes).map(row).collect()
}

/// Away from kinks the remainder falls with the square of the step, for every direction and temperature.
#[test]
fn the_remainder_is_of_second_order() {
    const CLASSES: usize = 4;
    let image = random_images(3, 1, 0.4, 0.6);
    for seed in 0..4_u64 {
        let tau = if seed % 2 == 0 { 1.0 } else { 4.0 };
        let teacher = smooth_teacher(CLASSES, seed, &image);
        let jacobian = jacobian(&teacher, &image, CLASSES, tau);
        let clean = &probs(&teacher, &image, tau)[0];
        let mut draws = draws(seed);
        let direction: Vec<f64> = (0..DIMENSION).map(|_| f64::from(draws.normal())).collect();
        let remainder = |size: f64| {
            let step: Vec<f64> = direction.iter().map(|d| size * d).collect();
            let moved = values(&image).iter().zip(&step).map(|(x, e)| (f64::from(*x) + e) as f32).collect();
            let moved = &probs(&teacher, &fixture::images(moved), tau)[0];
            let squares = moved.iter().zip(clean).zip(&jacobian).map(|((moved, clean), row)| {
                let first: f64 = row.iter().zip(&step).map(|(j, e)| f64::from(*j) * e).sum();
                (moved - clean - first).powi(2)
            });
            (size, squares.sum::<f64>().sqrt())
        };
        let points: Vec<_> = [0.16, 0.08, 0.04, 0.02].map(remainder).to_vec();
        let slope = slope(&points);
        assert!((1.8..2.2).contains(&slope), "seed {seed}: slope {slope} of {points:?}");
        // The first-order term itself is no smaller than what is left.
        assert!(points[3].1 > 1e-6, "nothing curves here: {points:?}");
    }
}
