//! How well the teachers are described by their Jacobians: |T(x + e) - T(x) - J e| against |e| (the paper's section
//! 3.2), on test images, along Gaussian noise and along each teacher's own ODS direction.
//!
//! Steps are multiples of the one that training takes, eta / 255 times the root of D, and are not clipped.

use std::collections::BTreeMap;

use datasets::Dataset;
use methods::be_kd_ods::BeKdOds;
use methods::perturb::ods;
use methods::{Noise as _, Streams};
use nn::pixels::unit;
use nn::{Mode, Network};
use random::Stream;
use results::analysis::{Curve, Direction, Matrix, Remainder, Space};

use super::linearization::{Linearization, doubles, outputs};
use super::probes::Probes;
use crate::interrupt;
use crate::train::evaluate;

/// Steps as multiples of training's.
pub const STEPS: [f64; 7] = [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0];

/// Images that are differentiated at once.
const BATCH: usize = 32;

/// Measures `teachers` on the images `rows` of `data`.
///
/// # Errors
/// Failures of the device; a signal.
pub fn measure(
    teachers: &[Network],
    data: &Dataset,
    rows: &[usize],
    by_ods: &BeKdOds,
    seed: u64,
    probes: &Probes,
) -> anyhow::Result<Remainder> {
    let training_norm = by_ods.eta / 255.0 * (data.example_len() as f64).sqrt();
    let norms = STEPS.map(|step| step * training_norm);
    // [step], pair by pair.
    let mut found: BTreeMap<(Direction, Space), [Lengths; STEPS.len()]> = BTreeMap::new();
    let noise_seed = Stream::new(seed, "remainder").draws(0, 0).next_u64();
    for teacher in teachers {
        for (step, rows) in rows.chunks(BATCH).enumerate() {
            let images = evaluate::gather(data, rows, teacher.device())?;
            let noise = Streams { seed: noise_seed, epoch: 0, step: step as u64 };
            let around = Linearization::new(teacher, &images)?;
            for direction in Direction::ALL {
                let direction_of = match direction {
                    Direction::Gaussian => {
                        unit(&noise.normal("gaussian", images.dims(), images.device())?)?
                    }
                    Direction::Ods => {
                        ods(std::slice::from_ref(teacher), &images, &noise, 1, by_ods.tau)?.directions
                    }
                };
                let moved = norms.map(|norm| -> nn::Result<Vec<f64>> {
                    let images = (&images + (&direction_of * norm)?)?;
                    doubles(&teacher.frozen_logits(&images, Mode::Eval)?)
                });
                let moved = moved.into_iter().collect::<nn::Result<Vec<_>>>()?;
                let direction_of = direction_of.flatten_all()?.to_vec1::<f32>()?;
                for space in Space::ALL {
                    let squares = squares(&around, space, &direction_of, &norms, &moved, rows, probes)?;
                    let lengths = found.entry((direction, space)).or_default();
                    for (lengths, squares) in lengths.iter_mut().zip(squares) {
                        lengths.change.extend(squares.change.into_iter().map(f64::sqrt));
                        lengths.rest.extend(squares.rest.into_iter().map(f64::sqrt));
                    }
                }
            }
        }
    }
    let pairs = teachers.len() * rows.len();
    let matrix = |lengths: &[Lengths], of: fn(&Lengths) -> &Vec<f64>| {
        let values = lengths.iter().flat_map(|lengths| of(lengths).iter().map(|length| *length as f32));
        Matrix::new(pairs, values.collect())
    };
    let curve = |lengths: &[Lengths]| Curve {
        change: matrix(lengths, |lengths| &lengths.change),
        rest: matrix(lengths, |lengths| &lengths.rest),
    };
    Ok(Remainder {
        norm: norms.map(|norm| norm as f32).to_vec(),
        training_norm,
        curves: found.into_iter().map(|(key, lengths)| (key, curve(&lengths))).collect(),
    })
}

/// |T(x + e) - T(x)| and |T(x + e) - T(x) - J e|, or their squares.
#[derive(Clone, Debug, Default)]
struct Lengths {
    change: Vec<f64>,
    rest: Vec<f64>,
}

/// The squares at each step along `direction` (B, D), image by image: sums over the probes v of (v . T)^2.
fn squares(
    around: &Linearization,
    space: Space,
    direction: &[f32],
    norms: &[f64],
    moved: &[Vec<f64>],
    rows: &[usize],
    probes: &Probes,
) -> anyhow::Result<Vec<Lengths>> {
    let (images, pixels) = (rows.len(), direction.len() / rows.len().max(1));
    let start = around.outputs(space);
    let classes = start.len() / images.max(1);
    let moved: Vec<Vec<f64>> = moved.iter().map(|logits| outputs(space, logits, classes)).collect();
    let mut squares = vec![Lengths { change: vec![0.0; images], rest: vec![0.0; images] }; norms.len()];
    let mut rounds = interrupt::Rounds::new();
    for probe in 0..probes.count() {
        rounds.again()?;
        let vectors = probes.vectors(probe, rows);
        let pulled = around.pull_back(space, &vectors)?;
        for image in 0..images {
            let pixels = image * pixels..(image + 1) * pixels;
            let slope: f64 = pulled[pixels.clone()]
                .iter()
                .zip(&direction[pixels])
                .map(|(pulled, direction)| f64::from(*pulled) * f64::from(*direction))
                .sum();
            let classes = image * classes..(image + 1) * classes;
            for ((norm, moved), squares) in norms.iter().zip(&moved).zip(&mut squares) {
                let change: f64 = moved[classes.clone()]
                    .iter()
                    .zip(&start[classes.clone()])
                    .zip(&vectors[classes.clone()])
                    .map(|((moved, start), v)| (moved - start) * f64::from(*v))
                    .sum();
                squares.change[image] += probes.scale() * change.powi(2);
                squares.rest[image] += probes.scale() * (change - norm * slope).powi(2);
            }
        }
    }
    Ok(squares)
}
