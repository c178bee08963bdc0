//! Softmax and losses in f32, which are operators of the crate, against the chains of candle's operators that they are in f64.

use candle_core::{DType, Device, Tensor, Var};
use nn::loss::{cross_entropy, tempered_cross_entropy, tempered_kl, tempered_probs};
use nn::pixels::unit;
use proptest::prelude::*;
use random::Stream;

/// Logits and targets of M members, B images and K classes.
struct Case {
    logits: Tensor,
    targets: Tensor,
    labels: Tensor,
    weights: Tensor,
}

fn case((members, batch, classes): (usize, usize, usize), spread: f64, seed: u64) -> Case {
    let normals = |name: &str, scale: f64| {
        let mut draws = Stream::new(seed, name).draws(0, 0);
        let values: Vec<f32> = (0..members * batch * classes).map(|_| draws.normal()).collect();
        (Tensor::from_vec(values, (members, batch, classes), &Device::Cpu).unwrap() * scale).unwrap()
    };
    let mut draws = Stream::new(seed, "labels").draws(0, 0);
    let labels: Vec<u32> = (0..batch).map(|_| draws.below(classes as u32)).collect();
    Case {
        logits: normals("logits", spread),
        targets: tempered_probs(&normals("teachers", spread), 1.0).unwrap(),
        labels: Tensor::from_vec(labels, batch, &Device::Cpu).unwrap(),
        weights: normals("weights", 1.0),
    }
}

/// Each loss, and its gradient by the logits, computed in `dtype`.
fn pass(case: &Case, tau: f64, dtype: DType) -> Vec<Vec<f64>> {
    let z = Var::from_tensor(&case.logits.to_dtype(dtype).unwrap()).unwrap();
    let targets = case.targets.to_dtype(dtype).unwrap();
    let weights = case.weights.to_dtype(dtype).unwrap();
    let probs = tempered_probs(&z, tau).unwrap();
    let losses = [
        cross_entropy(&z, &case.labels).unwrap(),
        tempered_kl(&targets, &z, tau).unwrap(),
        tempered_kl(&targets.narrow(0, 0, 1).unwrap(), &z, tau).unwrap(),
        tempered_cross_entropy(&targets, &z, tau).unwrap(),
    ];
    let in_f64 = |tensor: &Tensor| -> Vec<f64> {
        tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1().unwrap()
    };
    let gradient = |loss: &Tensor| in_f64(loss.backward().unwrap().get(&z).unwrap());
    let mut all = vec![in_f64(&probs), gradient(&(&probs * weights).unwrap().sum_all().unwrap())];
    for loss in losses {
        all.push(in_f64(&loss));
        // A loss that is scaled: the operators' gradients are.
        all.push(gradient(&(loss * 3.0).unwrap()));
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn operators_are_what_the_chains_say(
        shape in (1..4_usize, 1..9_usize, 2..40_usize),
        spread in prop_oneof![Just(0.0), 0.1..8.0_f64, Just(300.0)],
        tau in prop_oneof![Just(1.0), 0.3..8.0_f64],
        seed in 0..1000_u64,
    ) {
        let case = case(shape, spread, seed);
        let (found, expected) = (pass(&case, tau, DType::F32), pass(&case, tau, DType::F64));
        for (list, (found, expected)) in found.iter().zip(&expected).enumerate() {
            // Probabilities are rounded before their gradient is made of them.
            let largest = expected.iter().fold(0.01, |largest: f64, value| largest.max(value.abs()));
            for (found, expected) in found.iter().zip(expected) {
                let allowed = 1e-6 * largest;
                prop_assert!((found - expected).abs() <= allowed, "{list}: {found} {expected}");
            }
        }
    }

    #[test]
    fn directions_have_length_1(images in 1..5_usize, scale in -30..30_i32, seed in 0..1000_u64) {
        let mut draws = Stream::new(seed, "gradient").draws(0, 0);
        let values: Vec<f32> = (0..images * 48).map(|_| draws.normal() * 2.0_f32.powi(scale)).collect();
        let gradient = Tensor::from_vec(values, (images, 3, 4, 4), &Device::Cpu).unwrap();
        let directions = unit(&gradient).unwrap().to_dtype(DType::F64).unwrap();
        let squares = directions.sqr().unwrap().flatten_from(1).unwrap().sum(1).unwrap();
        for square in squares.to_vec1::<f64>().unwrap() {
            prop_assert!((square - 1.0).abs() < 1e-6, "{square}");
        }
    }
}

/// Of a prediction that is certain but for a millionth or for less than a float can say: what is left of the gradient, and so the
/// direction of ODS, is as exact as that of any other.
#[test]
fn the_gradient_of_certain_probabilities() {
    let grads = [0.3_f64, 0.7, -0.9];
    for logits in [[1.0_f64, 15.0, 0.0], [2.0, 30.0, 1.0]] {
        let sum: f64 = logits.iter().map(|z| z.exp()).sum();
        let probs = logits.map(|z| z.exp() / sum);
        // sum_j p_k p_j (g_k - g_j): without a difference of numbers that are nearly equal.
        let expected = [0, 1, 2].map(|k: usize| -> f64 {
            probs.iter().zip(grads).map(|(p, g)| probs[k] * p * (grads[k] - g)).sum()
        });
        let z = Var::new(&[logits.map(|z| z as f32)], &Device::Cpu).unwrap();
        let weights = Tensor::new(&[grads.map(|g| g as f32)], &Device::Cpu).unwrap();
        let loss = (tempered_probs(&z, 1.0).unwrap() * weights).unwrap().sum_all().unwrap();
        let found = loss.backward().unwrap().get(&z).unwrap().to_vec2::<f32>().unwrap();
        for (found, expected) in found[0].iter().zip(expected) {
            assert!((f64::from(*found) / expected - 1.0).abs() < 1e-6, "{found} {expected}");
        }
    }
}

#[test]
fn layouts_that_are_not_contiguous() {
    let of = case((2, 3, 5), 4.0, 1);
    let transposed = of.logits.transpose(1, 2).unwrap().contiguous().unwrap().transpose(1, 2).unwrap();
    assert!(!transposed.is_contiguous());
    let loss = |z: &Tensor| cross_entropy(z, &of.labels).unwrap().to_scalar::<f32>().unwrap();
    assert_eq!(loss(&of.logits), loss(&transposed));
    let probs = |z: &Tensor| tempered_probs(z, 2.0).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(probs(&of.logits), probs(&transposed));
}

#[test]
fn a_label_that_is_no_class_is_named() {
    let of = case((1, 2, 5), 1.0, 1);
    let labels = Tensor::new(&[0_u32, 5], &Device::Cpu).unwrap();
    let error = cross_entropy(&of.logits, &labels).unwrap_err().to_string();
    assert!(error.contains("label 5 is none of 5 classes"), "{error}");
}

#[test]
fn what_is_not_finite_stays() {
    let of = case((1, 2, 3), 1.0, 1);
    for value in [f32::NAN, f32::INFINITY] {
        let logits = Tensor::new(&[[[1.0, value, 0.0], [0.0, 1.0, 2.0]]], &Device::Cpu).unwrap();
        let losses = [
            cross_entropy(&logits, &of.labels).unwrap(),
            tempered_kl(&of.targets, &logits, 4.0).unwrap(),
            tempered_cross_entropy(&of.targets, &logits, 4.0).unwrap(),
        ];
        assert!(losses.iter().all(|loss| loss.to_scalar::<f32>().unwrap().is_nan()), "{value}");
        let probs = tempered_probs(&logits, 1.0).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert!(probs[..3].iter().all(|p| p.is_nan()) && probs[3..].iter().all(|p| p.is_finite()));
    }
    let gradient = Tensor::new(&[[[[f32::NAN, 1.0]]], [[[0.0, 2.0]]]], &Device::Cpu).unwrap();
    let directions = unit(&gradient).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert!(directions[..2].iter().all(|d| d.is_nan()) && directions[2..] == [0.0, 1.0]);
}

/// The bits of all values and gradients, of 100 classes and of as many as no vector holds: found on x86-64, and to be found on
/// every processor and system.
#[test]
fn every_machine_gives_the_same_bits() {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |values: &[f64]| {
        for byte in values.iter().flat_map(|value| (*value as f32).to_bits().to_le_bytes()) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (shape, tau) in [((4, 8, 100), 4.0), ((2, 5, 37), 1.0)] {
        pass(&case(shape, 5.0, 7), tau, DType::F32).iter().for_each(|values| add(values));
    }
    let mut draws = Stream::new(7, "gradient").draws(0, 0);
    let gradient: Vec<f32> = (0..2 * 3 * 33 * 35).map(|_| draws.normal()).collect();
    let gradient = Tensor::from_vec(gradient, (2, 3, 33, 35), &Device::Cpu).unwrap();
    let directions = unit(&gradient).unwrap().to_dtype(DType::F64).unwrap();
    add(&directions.flatten_all().unwrap().to_vec1::<f64>().unwrap());
    assert_eq!(hash, 0xaacb_86ed_ffd7_5ee3, "{hash:#x}");
}
