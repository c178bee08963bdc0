//! Kernels over rows of logits against their definition in `f64`, in both orders of threads.

use random::Stream;

use super::kernels::{devices, distance, normals};
use crate::ops::cuda::rows;
use crate::ops::rows::{Divergence, Rows};

/// ln softmax(logits / temperature) of each row.
fn log_probs(logits: &[f32], classes: usize, temperature: f64) -> Vec<f64> {
    let row = |row: &[f32]| -> Vec<f64> {
        let row: Vec<f64> = row.iter().map(|z| f64::from(*z) / temperature).collect();
        let largest = row.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = row.iter().map(|z| (z - largest).exp()).sum();
        row.iter().map(|z| z - largest - sum.ln()).collect()
    };
    logits.chunks_exact(classes).flat_map(row).collect()
}

/// Two members of seven images and eleven classes: blocks with rows left over, threads without a class.
#[test]
fn losses_and_their_gradients() {
    let (members, batch, classes, tau) = (2, 7, 11, 4.0);
    let of = Rows { rows: members * batch, classes };
    let mut draws = Stream::new(6, "losses").draws(0, 0);
    let logits: Vec<f32> = normals(&mut draws, of.values()).iter().map(|z| 5.0 * z).collect();
    let teachers: Vec<f32> = normals(&mut draws, batch * classes).iter().map(|z| 5.0 * z).collect();
    let labels: Vec<u32> = (0..batch as u32).map(|image| image * 3 % classes as u32).collect();
    let targets: Vec<f64> = log_probs(&teachers, classes, tau).iter().map(|log| log.exp()).collect();
    let of_rows = |value: &dyn Fn(usize) -> f64| (0..of.rows).map(value).collect::<Vec<_>>();
    let of_values = |value: &dyn Fn(usize, usize) -> f64| {
        (0..of.values()).map(|at| value(at / classes, at % classes)).collect::<Vec<_>>()
    };
    let (log, tempered) = (log_probs(&logits, classes, 1.0), log_probs(&logits, classes, tau));
    let label = |row: usize| labels[row % batch] as usize;
    let target = |row: usize, k: usize| targets[row % batch * classes + k];
    let rows_f64 = of.rows as f64;
    let ce = of_rows(&|row| -log[row * classes + label(row)]);
    let ce_grad =
        of_values(&|row, k| (log[row * classes + k].exp() - f64::from(u8::from(k == label(row)))) / rows_f64);
    let kl_grad = of_values(&|row, k| (tempered[row * classes + k].exp() - target(row, k)) / tau / rows_f64);
    let divergence = |with_entropy: bool| {
        of_rows(&|row| {
            let term = |k| {
                let t: f64 = target(row, k);
                t * (if with_entropy { t.ln() } else { 0.0 } - tempered[row * classes + k])
            };
            (0..classes).map(term).sum()
        })
    };
    let hits = of_rows(&|row| {
        let row_logits = &logits[row * classes..][..classes];
        f64::from(u8::from(row_logits.iter().all(|z| *z <= row_logits[label(row)])))
    });
    for arena in devices() {
        let backend = arena.backend();
        let narrow: Vec<f32> = targets.iter().map(|t| *t as f32).collect();
        let (z, t, y) =
            (arena.values(&logits).unwrap(), arena.values(&narrow).unwrap(), arena.words(&labels).unwrap());
        let (losses, grads, one) =
            (arena.floats(of.rows).unwrap(), arena.floats(of.values()).unwrap(), arena.floats(1).unwrap());
        let near = |expected: &[f64], found: Vec<f32>| {
            assert!(distance(&found, expected) < 1e-6, "{found:?} {expected:?}");
        };
        let to = (losses.at(), grads.at());
        // SAFETY: the buffers hold the rows, or a value each.
        unsafe { rows::cross_entropy(backend, (z.at(), y.at()), to, of, batch) }.unwrap();
        near(&ce, losses.read(of.rows).unwrap());
        near(&ce_grad, grads.read(of.values()).unwrap());
        // SAFETY: as above.
        unsafe { rows::mean(backend, (losses.at(), one.at()), of.rows) }.unwrap();
        near(&[ce.iter().sum::<f64>() / rows_f64], one.read(1).unwrap());
        for with_entropy in [false, true] {
            let kind = Divergence { temperature: tau, with_entropy };
            // SAFETY: as above.
            unsafe { rows::divergence(backend, (t.at(), z.at()), to, of, batch, kind) }.unwrap();
            near(&divergence(with_entropy), losses.read(of.rows).unwrap());
            near(&kl_grad, grads.read(of.values()).unwrap());
        }
        // SAFETY: as above.
        unsafe { rows::hits(backend, (z.at(), y.at(), losses.at()), of, batch) }.unwrap();
        near(&hits, losses.read(of.rows).unwrap());
        // SAFETY: as above.
        unsafe { rows::largest(backend, (z.at(), losses.at()), of) }.unwrap();
        let largest =
            |row: usize| logits[row * classes..][..classes].iter().copied().fold(f32::MIN, f32::max);
        near(&of_rows(&|row| f64::from(largest(row))), losses.read(of.rows).unwrap());
    }
}

/// Probabilities and their gradient, p o (g - sum g p) / tau.
#[test]
fn probabilities_and_their_gradient() {
    let of = Rows { rows: 9, classes: 40 };
    let mut draws = Stream::new(7, "losses").draws(0, 0);
    let [logits, grads] = [(); 2].map(|()| normals(&mut draws, of.values()));
    let probs: Vec<f64> = log_probs(&logits, of.classes, 0.5).iter().map(|log| log.exp()).collect();
    let by_logits =
        probs.chunks_exact(of.classes).zip(grads.chunks_exact(of.classes)).flat_map(|(probs, grads)| {
            let mean: f64 = probs.iter().zip(grads).map(|(p, g)| p * f64::from(*g)).sum();
            probs.iter().zip(grads).map(move |(p, g)| p * (f64::from(*g) - mean) / 0.5)
        });
    let by_logits: Vec<f64> = by_logits.collect();
    for arena in devices() {
        let (z, g) = (arena.values(&logits).unwrap(), arena.values(&grads).unwrap());
        let (p, to) = (arena.floats(of.values()).unwrap(), arena.floats(of.values()).unwrap());
        // SAFETY: all hold the rows.
        unsafe { rows::probs(arena.backend(), (z.at(), p.at()), of, 0.5) }.unwrap();
        assert!(distance(&p.read(of.values()).unwrap(), &probs) < 1e-6);
        // SAFETY: as above.
        unsafe { rows::probs_grad(arena.backend(), (p.at(), g.at(), to.at()), of, 0.5) }.unwrap();
        assert!(distance(&to.read(of.values()).unwrap(), &by_logits) < 1e-6);
    }
}

/// Of a prediction that is certain but for a millionth or for less than a float can say: what is left of the gradient is as
/// exact as that of any other.
#[test]
fn the_gradient_of_certain_probabilities() {
    let of = Rows { rows: 2, classes: 3 };
    let (logits, grads) = ([1.0_f32, 15.0, 0.0, 30.0, 2.0, 1.0], [0.3_f32, 0.7, -0.9, 0.9, -0.4, 0.2]);
    let probs: Vec<f64> = log_probs(&logits, 3, 1.0).iter().map(|log| log.exp()).collect();
    for arena in devices() {
        let (z, g) = (arena.values(&logits).unwrap(), arena.values(&grads).unwrap());
        let (p, to) = (arena.floats(6).unwrap(), arena.floats(6).unwrap());
        // SAFETY: all hold the rows.
        unsafe { rows::probs(arena.backend(), (z.at(), p.at()), of, 1.0) }.unwrap();
        // SAFETY: as above.
        unsafe { rows::probs_grad(arena.backend(), (p.at(), g.at(), to.at()), of, 1.0) }.unwrap();
        let found = to.read(6).unwrap();
        for (row, found) in found.chunks_exact(3).enumerate() {
            let (probs, grads) = (&probs[3 * row..][..3], &grads[3 * row..][..3]);
            // sum_j p_k p_j (g_k - g_j): without a difference of numbers that are nearly equal.
            let by = |k: usize| {
                let terms = probs.iter().zip(grads);
                terms.map(|(p, g)| probs[k] * p * f64::from(grads[k] - g)).sum::<f64>()
            };
            assert!(distance(found, &[by(0), by(1), by(2)]) < 1e-6, "{found:?}");
        }
    }
}

/// Numbers that are exact: what a step leaves for its log, sums of losses, steps over images.
#[test]
fn small_sums_and_steps() {
    for arena in devices() {
        let backend = arena.backend();
        let values = |values: &[f32]| arena.values(values).unwrap();
        let (x, y, hits, to) = (values(&[3.0]), values(&[-2.0]), values(&[1.0, 0.0, 1.0]), values(&[9.0; 6]));
        // SAFETY: single values, three hits, and room for six.
        unsafe {
            rows::tally(backend, [x.at(), y.at(), 0], (hits.at(), to.at()), 3).unwrap();
            assert_eq!(to.read(6).unwrap(), [3.0, -2.0, 0.0, 2.0, 9.0, 9.0]);
            rows::tally(backend, [x.at(), y.at(), x.at()], (hits.at(), to.at()), 2).unwrap();
            assert_eq!(to.read(4).unwrap(), [3.0, -2.0, 3.0, 1.0]);
            rows::blend(backend, (x.at(), y.at(), to.at()), (0.5, 0.25)).unwrap();
            rows::times(backend, (hits.at(), y.at(), to.at() + 4), 3).unwrap();
        }
        assert_eq!(to.read(4).unwrap(), [1.0, -2.0, 0.0, -2.0]);

        // The second image's gradient vanishes.
        let (gradient, images) =
            (values(&[3.0, 0.0, 4.0, 0.0, 0.0, 0.0]), values(&[0.5, 0.5, 0.9, 0.0, 1.0, 0.5]));
        let (unit, factors) = (arena.floats(6).unwrap(), values(&[0.5, 1.0]));
        // SAFETY: two images of three values each, and a factor an image.
        unsafe { rows::unit(backend, (gradient.at(), unit.at()), (2, 3), 1e-12) }.unwrap();
        assert_eq!(unit.read(6).unwrap(), [0.6, 0.0, 0.8, 0.0, 0.0, 0.0]);
        for (at, expected) in
            [(0, [1.0, 0.5, 1.0, 0.0, 1.0, 0.5]), (factors.at(), [0.8, 0.5, 1.0, 0.0, 1.0, 0.5])]
        {
            let memory = (images.at(), unit.at(), at, to.at());
            // SAFETY: as above.
            unsafe { rows::clipped_step(backend, memory, (6, 3), 1.0) }.unwrap();
            assert_eq!(to.read(6).unwrap(), expected);
        }
    }
}

/// A logit or a label that is none makes the loss no number, so that training stops; a logit far below is no harm.
#[test]
fn losses_keep_what_is_not_finite() {
    let of = Rows { rows: 3, classes: 3 };
    for arena in devices() {
        let z = arena.values(&[1.0, f32::NAN, 0.0, 2.0, -1e30, 2.0, 1.0, 1.0, 1.0]).unwrap();
        let y = arena.words(&[0, 0, 3]).unwrap();
        let (losses, grads) = (arena.floats(3).unwrap(), arena.floats(9).unwrap());
        let to = (losses.at(), grads.at());
        // SAFETY: the buffers hold three rows.
        unsafe { rows::cross_entropy(arena.backend(), (z.at(), y.at()), to, of, 3) }.unwrap();
        let found = losses.read(3).unwrap();
        assert!(
            found[0].is_nan() && found[2].is_nan() && (found[1] - 2.0_f32.ln()).abs() < 1e-6,
            "{found:?}"
        );
        assert!(grads.read(9).unwrap()[3..].iter().all(|gradient| gradient.is_finite()));
    }
}
