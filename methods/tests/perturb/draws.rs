//! The draws of a step depend on seed, epoch, step and row, and on nothing else.

use candle_core::{Device, Tensor};
use methods::{Noise, Streams, Under};

use crate::fixture::{bits, values};

const STEP: Streams = Streams { seed: 1, epoch: 2, step: 3 };
const RANGE: (f32, f32) = (-1.0, 1.0);

#[test]
fn equal_keys_give_equal_draws() {
    let of = |streams: Streams| {
        let weights = bits(&streams.uniform("w", RANGE, &[6, 4], &Device::Cpu).unwrap());
        let noise = bits(&streams.normal("z", &[6, 3, 4, 4], &Device::Cpu).unwrap());
        (weights, noise)
    };
    assert_eq!(of(STEP), of(STEP));
    for other in [Streams { seed: 2, ..STEP }, Streams { epoch: 3, ..STEP }, Streams { step: 4, ..STEP }] {
        assert_ne!(of(STEP).0, of(other).0, "{other:?}");
        assert_ne!(of(STEP).1, of(other).1, "{other:?}");
    }
}

/// One name's draws say nothing of another's: of 100 pairs of U(-1, 1) the correlation is within five standard errors of 0.
#[test]
fn names_are_independent() {
    let of = |name: &str| values(&STEP.uniform(name, RANGE, &[100, 1], &Device::Cpu).unwrap());
    let products = |a: Vec<f32>, b: Vec<f32>| a.iter().zip(b).map(|(a, b)| 3.0 * a * b).sum::<f32>() / 100.0;
    assert!(products(of("w"), of("w")) > 0.5);
    assert!(products(of("w"), of("v")).abs() < 0.5);
    assert_ne!(STEP.draws("w").next_u64(), STEP.draws("v").next_u64());
}

/// What draws by itself a second time in a step draws other numbers under another name, and Gaussian noise is then another.
#[test]
fn what_draws_twice_draws_under_other_names() {
    let second = Under { noise: &STEP, name: "second" };
    let of = |noise: &dyn Noise| {
        let images = Tensor::full(0.5_f32, (2, 3, 4, 4), &Device::Cpu).unwrap();
        let gaussian = bits(&methods::perturb::gaussian(&images, noise, 8.0).unwrap());
        let weights = bits(&noise.uniform("w", RANGE, &[4, 5], &Device::Cpu).unwrap());
        (gaussian, weights, noise.indices("i", 20, 9), noise.draws("d").next_u64())
    };
    let (first, other) = (of(&STEP), of(&second));
    assert_eq!(other, of(&second));
    assert!(first.0 != other.0 && first.1 != other.1 && first.2 != other.2 && first.3 != other.3);
    assert_eq!(second.draws("d").next_u64(), STEP.draws("second/d").next_u64());
}

/// A row's draws are the same in a larger batch, and no two rows' are, in the next step neither.
#[test]
fn rows_have_their_own_draws() {
    let (small, large) = (3, 50);
    let next = Streams { step: STEP.step + 1, ..STEP };
    let w = |streams: Streams, batch| bits(&streams.uniform("w", RANGE, &[batch, 4], &Device::Cpu).unwrap());
    let z = |streams: Streams, batch| bits(&streams.normal("z", &[batch, 3, 2, 2], &Device::Cpu).unwrap());
    assert_eq!(w(STEP, small), w(STEP, large)[..small * 4]);
    assert_eq!(z(STEP, small), z(STEP, large)[..small * 12]);
    for (all, len) in [([w(STEP, large), w(next, large)], 4), ([z(STEP, large), z(next, large)], 12)] {
        let mut rows: Vec<&[u32]> = all.iter().flat_map(|step| step.chunks(len)).collect();
        rows.sort_unstable();
        rows.dedup();
        assert_eq!(rows.len(), 2 * large);
    }
}

/// Within five standard errors: mean and variance of U(-1, 1) are 0 and 1/3, of N(0, 1) 0 and 1.
#[test]
fn distributions() {
    let moments = |values: Vec<f32>| {
        let count = values.len() as f64;
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / count;
        (mean, values.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / count)
    };
    let w = values(&STEP.uniform("w", RANGE, &[1000, 20], &Device::Cpu).unwrap());
    assert!(w.iter().all(|v| (-1.0..1.0).contains(v)));
    let (mean, variance) = moments(w);
    assert!(mean.abs() < 5.0 * 0.0041 && (variance - 1.0 / 3.0).abs() < 5.0 * 0.0021, "{mean} {variance}");
    let (mean, variance) = moments(values(&STEP.normal("z", &[1000, 20], &Device::Cpu).unwrap()));
    assert!(mean.abs() < 5.0 * 0.0071 && (variance - 1.0).abs() < 5.0 * 0.01, "{mean} {variance}");
}

/// Every teacher is drawn, about as often as the others.
#[test]
fn teachers_are_uniform() {
    let mut counts = [0; 4];
    for step in 0..1000 {
        for teacher in (Streams { step, ..STEP }).indices("teacher", 2, 4) {
            counts[teacher] += 1;
        }
    }
    // 500 each; five standard deviations of a binomial are 97.
    assert!(counts.iter().all(|count| (403..=597).contains(count)), "{counts:?}");
    assert_eq!(STEP.indices("teacher", 3, 4), STEP.indices("teacher", 3, 4));
    assert!(STEP.indices("teacher", 8, 1).iter().all(|teacher| *teacher == 0));
}
