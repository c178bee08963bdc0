//! What distillation on noised images adds to distillation on clean ones (Section 3.2).
//!
//! For a student whose logits are the teacher's plus L (x' - x), so that both agree at x,
//! ```text
//! E_z KL(T(x + s z) || S(x + s z)) = s^2 / 2 * sum_k p_k |L_k - sum_j p_j L_j|^2 + O(s^4)
//! ```
//! a term that matches the Jacobians and nothing else.

use candle_core::{DType, Device, Tensor};
use methods::perturb::gaussian;
use methods::{Noise, Streams};
use nn::loss::{tempered_kl, tempered_probs};
use nn::{Mode, Network};

use crate::fixture::{
    DIMENSION, draws, images, probs, random_images, slope, smooth_teacher, values, weights,
};

const CLASSES: usize = 4;

/// The 2 D points +- sqrt(D) e_i: like N(0, I) their mean is zero, their covariance the identity and their odd moments
/// vanish, so that averages of quadratic forms are exact.
fn cubature() -> Vec<f32> {
    let mut z = vec![0.0; 2 * DIMENSION * DIMENSION];
    for i in 0..DIMENSION {
        z[2 * i * DIMENSION + i] = (DIMENSION as f32).sqrt();
        z[(2 * i + 1) * DIMENSION + i] = -(DIMENSION as f32).sqrt();
    }
    z
}

/// Mean of KL(T(x') || S(x')) over x' = x + s z, where S has the logits T(x') + L (x' - x) + constant.
fn mean_kl(
    teacher: &Network,
    image: &Tensor,
    l: &Tensor,
    constant: &Tensor,
    noise: &dyn Noise,
    rows: usize,
    s: f64,
) -> f64 {
    let copies = images(values(image).repeat(rows));
    let noised = gaussian(&copies, noise, 255.0 * s).unwrap();
    let teacher_logits = teacher.frozen_logits(&noised, Mode::Eval).unwrap().to_dtype(DType::F64).unwrap();
    let step = (noised.to_dtype(DType::F64).unwrap() - copies.to_dtype(DType::F64).unwrap()).unwrap();
    let added = step.flatten_from(1).unwrap().matmul(&l.t().unwrap()).unwrap();
    let added = added.broadcast_add(constant).unwrap().unsqueeze(0).unwrap();
    let student_logits = (&teacher_logits + added).unwrap();
    let target = tempered_probs(&teacher_logits, 1.0).unwrap();
    tempered_kl(&target, &student_logits, 1.0).unwrap().to_scalar::<f64>().unwrap()
}

/// L (K, D), in f64.
fn matrix(seed: u64) -> Tensor {
    let mut draws = draws(seed);
    let entries: Vec<f64> = (0..CLASSES * DIMENSION).map(|_| f64::from(draws.normal())).collect();
    Tensor::from_vec(entries, (CLASSES, DIMENSION), &Device::Cpu).unwrap()
}

fn zeros(shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, DType::F64, &Device::Cpu).unwrap()
}

/// sum_k p_k |L_k - sum_j p_j L_j|^2
fn jacobian_term(p: &[f64], l: &Tensor) -> f64 {
    let rows: Vec<Vec<f64>> = l.to_vec2().unwrap();
    let terms = (0..DIMENSION).map(|d| {
        let mean: f64 = p.iter().zip(&rows).map(|(p, row)| p * row[d]).sum();
        p.iter().zip(&rows).map(|(p, row)| p * (row[d] - mean).powi(2)).sum::<f64>()
    });
    terms.sum()
}

#[test]
fn small_noise_adds_the_jacobian_term() {
    let image = random_images(5, 1, 0.49, 0.51);
    for seed in 0..3 {
        let teacher = smooth_teacher(CLASSES, seed, &image);
        let l = matrix(seed);
        let term = jacobian_term(&probs(&teacher, &image, 1.0)[0], &l);
        let noise = weights(&cubature());
        let left = |s: f64| {
            let kl = mean_kl(&teacher, &image, &l, &zeros(&[CLASSES]), &noise, 2 * DIMENSION, s);
            (s, kl - s * s / 2.0 * term)
        };
        let points: Vec<_> = [0.06, 0.03, 0.015].map(left).to_vec();
        let share = points[2].1.abs() / (0.015_f64.powi(2) / 2.0 * term);
        assert!(share < 0.01, "seed {seed}: the term leaves a share of {share}");
        let slope = slope(&points);
        assert!((3.7..4.3).contains(&slope), "seed {seed}: slope {slope} of {points:?}");
    }
}

/// The same with draws of the training runs: 4096 samples, within four standard errors of about 1%.
#[test]
fn gaussian_draws_add_it_on_average() {
    const SAMPLES: usize = 4096;
    let image = random_images(5, 1, 0.49, 0.51);
    let teacher = smooth_teacher(CLASSES, 1, &image);
    let l = matrix(1);
    let s = 0.01;
    let expected = s * s / 2.0 * jacobian_term(&probs(&teacher, &image, 1.0)[0], &l);
    let noise = Streams { seed: 1, epoch: 1, step: 0 };
    let found = mean_kl(&teacher, &image, &l, &zeros(&[CLASSES]), &noise, SAMPLES, s);
    assert!((found / expected - 1.0).abs() < 0.04, "{found} {expected}");
}

/// Where the two disagree at x the Jacobian term does not suffice: a student with the teacher's logits plus a constant has
/// the teacher's Jacobian everywhere, yet the noise changes its divergence by a multiple of s^2, the curvature of the
/// divergence itself, and as much as a Jacobian of the teacher's size would.
#[test]
fn a_student_that_disagrees_has_a_curvature_term_too() {
    let image = random_images(5, 1, 0.49, 0.51);
    let teacher = smooth_teacher(CLASSES, 2, &image);
    let noise = weights(&cubature());
    let constant = Tensor::new(&[2.0, 0.0, -1.0, 0.5], &Device::Cpu).unwrap();
    let same_jacobian = zeros(&[CLASSES, DIMENSION]);
    let divergence = |s: f64| mean_kl(&teacher, &image, &same_jacobian, &constant, &noise, 2 * DIMENSION, s);
    let clean = divergence(0.0);
    assert!(clean > 0.1, "teacher and student disagree: {clean}");
    let added = |s: f64| (divergence(s) - clean) / (s * s / 2.0);
    let (coarse, fine) = (added(0.06), added(0.03));
    assert!((coarse / fine - 1.0).abs() < 0.1, "of second order: {coarse} {fine}");
    // The teacher's own Jacobian, as if the student had none: the size of a whole Jacobian term.
    let logits = |pixels: Vec<f32>| values(&teacher.frozen_logits(&images(pixels), Mode::Eval).unwrap());
    let (start, h) = (values(&image), 0.1_f32);
    let columns = (0..DIMENSION).map(|d| {
        let mut moved = start.clone();
        moved[d] += h;
        let difference = logits(moved).into_iter().zip(logits(start.clone()));
        difference.map(|(to, from)| f64::from(to - from) / f64::from(h)).collect::<Vec<f64>>()
    });
    let columns = columns.flatten().collect::<Vec<f64>>();
    let own = Tensor::from_vec(columns, (DIMENSION, CLASSES), &Device::Cpu)
        .unwrap()
        .t()
        .unwrap()
        .contiguous()
        .unwrap();
    let whole = jacobian_term(&probs(&teacher, &image, 1.0)[0], &own);
    assert!(fine.abs() > 0.05 * whole, "{fine}, the teacher's Jacobian term is {whole}");
}
