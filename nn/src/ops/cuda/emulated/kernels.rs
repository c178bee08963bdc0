//! Single kernels against their definition, where a network's pass does not show enough.

use std::sync::Arc;

use half::bf16;
use random::{Draws, Stream};

use super::Emulated;
use crate::engine::graph::Feature;
use crate::ops::cuda::backend::{Arena, Element};
use crate::ops::cuda::norm::{self, Norm, Places, table_len};
use crate::ops::cuda::parts::Parts;
use crate::ops::cuda::pointwise::{self, Map, Rows, Skip};
use crate::ops::cuda::{draws, sgd};

/// The emulated device in both orders of threads; empty where there is no g++.
pub(super) fn devices() -> Vec<Arena> {
    [false, true]
        .into_iter()
        .filter_map(|reverse| Emulated::new(reverse).map(|device| Arena::new(Arc::new(device))))
        .collect()
}

pub(super) fn normals(draws: &mut Draws, len: usize) -> Vec<f32> {
    (0..len).map(|_| draws.normal()).collect()
}

/// |a - b| over |b|.
pub(super) fn distance(a: &[f32], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    let size: f64 = b.iter().map(|b| b * b).sum();
    (difference / size.max(1e-24)).sqrt()
}

fn map(arena: &Arena, values: &[f32], (channels, height, width): (usize, usize, usize), rows: usize) -> Map {
    let map = Map::new(arena, Element::F32, Feature { channels, height, width }, rows).unwrap();
    assert_eq!(map.len(), values.len());
    map.buffer.write(values).unwrap();
    map
}

/// (channels, pixels) of each row from (pixels, channels), or back.
pub(super) fn transposed(values: &[f64], inner: usize, outer: usize) -> Vec<f64> {
    let row = |row: &[f64]| -> Vec<f64> {
        (0..inner * outer).map(|at| row[at % outer * inner + at / outer]).collect()
    };
    values.chunks_exact(inner * outer).flat_map(row).collect()
}

/// Every bit pattern of bf16 there is, and what lies between two of them.
#[test]
fn bf16_is_rounded_as_the_standard_says() {
    let mut values: Vec<f32> = (0..=u16::MAX).map(|bits| bf16::from_bits(bits).to_f32()).collect();
    let mut draws = Stream::new(1, "bf16").draws(0, 0);
    values.extend((0..20_000).map(|_| f32::from_bits(draws.next_u32())));
    values.extend((0..=u16::MAX).map(|bits| f32::from_bits(u32::from(bits) << 16 | 0x8000)));
    for arena in devices() {
        let shape = Feature { channels: 1, height: 1, width: values.len() };
        let to = Map::new(&arena, Element::Bf16, shape, 1).unwrap();
        let (from, back) = (arena.values(&values).unwrap(), arena.floats(values.len()).unwrap());
        pointwise::map_in(arena.backend(), from.at(), &to).unwrap();
        pointwise::map_out(arena.backend(), &to, back.at()).unwrap();
        for (value, found) in values.iter().zip(back.read(values.len()).unwrap()) {
            let expected = bf16::from_f32(*value).to_f32();
            assert!(
                expected.to_bits() == found.to_bits() || expected.is_nan() && found.is_nan(),
                "{value:e}"
            );
        }
    }
}

/// Statistics of values far from zero, of many parts: sums of squares alone would lose all digits.
#[test]
fn statistics_do_not_cancel() {
    let (channels, pixels, rows) = (12, 900, Rows { members: 2, batch: 5, groups: 2 });
    let mut draws = Stream::new(3, "statistics").draws(0, 0);
    let values: Vec<f32> = (0..rows.count() * pixels * channels)
        .map(|at| 3000.0 * (at % channels) as f32 + draws.normal() * 0.5)
        .collect();
    for arena in devices() {
        let backend = arena.backend();
        let z = map(&arena, &values, (channels, 30, 30), rows.count());
        let norm_table = arena.floats(table_len(channels, rows.groups)).unwrap();
        let norm = Norm { table: norm_table.at() };
        let constants = [1.0, 0.0, 0.0, 1.0].map(|value| arena.values(&vec![value; channels]).unwrap());
        let parts = Parts::new(&arena, &z, rows).unwrap();
        let places = Places {
            gamma: constants[0].at(),
            beta: constants[1].at(),
            running: Some([constants[2].at(), constants[3].at()]),
        };
        norm::moments(backend, rows, &z, Skip::None, &parts, places, &norm, (0.0, 1.0)).unwrap();
        let table = norm_table.read(table_len(channels, rows.groups)).unwrap();
        for group in 0..rows.groups {
            let images = group * rows.batch / rows.groups..(group + 1) * rows.batch / rows.groups;
            for c in 0..channels {
                let of_channel: Vec<f64> = (0..rows.count() * pixels)
                    .filter(|place| images.contains(&(place / pixels % rows.batch)))
                    .map(|place| f64::from(values[place * channels + c]))
                    .collect();
                let count = of_channel.len() as f64;
                let mean = of_channel.iter().sum::<f64>() / count;
                let variance = of_channel.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / count;
                let (found_mean, inverse) = (
                    f64::from(table[group * channels + c]),
                    f64::from(table[(3 * rows.groups + group) * channels + c]),
                );
                assert!((found_mean - mean).abs() <= 1e-7 * mean.abs().max(1.0), "{found_mean} {mean}");
                assert!((inverse * variance.sqrt() - 1.0).abs() < 1e-4, "{inverse} {variance}");
                if group == 0 {
                    let unbiased = variance * count / (count - 1.0);
                    let running = f64::from(constants[3].read(channels).unwrap()[c]);
                    assert!((running / unbiased - 1.0).abs() < 2e-4, "{running} {unbiased}");
                }
            }
        }
    }
}

/// The optimiser's bits are the CPU's: the same operations in the same order.
#[test]
fn sgd_has_the_bits_of_the_cpu() {
    let count = 9000;
    let mut draws = Stream::new(5, "sgd").draws(0, 0);
    let [params, velocity, grads] = [(); 3].map(|()| normals(&mut draws, count));
    let momentum = 0.9_f32;
    let slow = sgd::Rates { rate: 0.05, decay: 5e-4, centre: 0.0 };
    let fast = sgd::Rates { rate: 0.1, decay: 1e-3, centre: 1.0 };
    // Longer than a block's part, shorter, and of one parameter; some parameters are in none.
    let segments = [(100..7000, false), (7000..7001, true), (7001..7100, false), (7200..8999, true)];
    for nesterov in [false, true] {
        let (mut p, mut v) = (params.clone(), velocity.clone());
        for (range, is_fast) in segments.clone() {
            let sgd::Rates { rate, decay, centre } = if is_fast { fast } else { slow };
            for at in range {
                let g = grads[at] + decay * (p[at] - centre);
                v[at] = momentum * v[at] + g;
                p[at] -= rate * if nesterov { g + momentum * v[at] } else { v[at] };
            }
        }
        for arena in devices() {
            let memory = [&params, &velocity, &grads].map(|values| arena.values(values).unwrap());
            let pieces = sgd::Pieces::new(&arena, segments.clone().into_iter()).unwrap();
            let addresses = (memory[0].at(), memory[1].at(), memory[2].at());
            let step = sgd::Step { momentum, nesterov, slow, fast };
            // SAFETY: all three hold `count` floats.
            unsafe { sgd::step(arena.backend(), &pieces, addresses, step) }.unwrap();
            assert_eq!(memory[0].read(count).unwrap(), p);
            assert_eq!(memory[1].read(count).unwrap(), v);
        }
    }
}

/// Uniforms have the bits of the crate `random`; normals here too, where logarithm and cosine are the host's.
#[test]
fn draws_are_those_of_the_cpu() {
    let keyed = draws::Keyed { stream: Stream::new(7, "ods"), epoch: 3, first: (41 << 32) - 2 };
    for (rows, per_row) in [(5, 10), (3, 1), (2, 17), (1, 4)] {
        let expected = |value: fn(&mut Draws) -> f32| -> Vec<f32> {
            let row = |row: u64| {
                let mut draws = keyed.stream.draws(keyed.epoch, keyed.first + row);
                (0..per_row).map(|_| value(&mut draws)).collect::<Vec<_>>()
            };
            (0..rows as u64).flat_map(row).collect()
        };
        for arena in devices() {
            let to = arena.floats(rows * per_row).unwrap();
            let read = || to.read(rows * per_row).unwrap();
            // SAFETY: `to` holds a value for each row and place.
            unsafe { draws::uniform(arena.backend(), keyed, (-1.0, 1.0), (rows, per_row), to.at()) }.unwrap();
            assert_eq!(read(), expected(|draws| draws.uniform_in(-1.0, 1.0)));
            // SAFETY: as above.
            unsafe { draws::normal(arena.backend(), keyed, (rows, per_row), to.at()) }.unwrap();
            for (found, expected) in read().into_iter().zip(expected(Draws::normal)) {
                assert!((found - expected).abs() <= f32::EPSILON * expected.abs(), "{found} {expected}");
            }
        }
    }
}

/// Crops by shifting and mirroring, drawn in the loader's order: top, left, mirror.
#[test]
fn augmentation_is_the_loaders() {
    let (size, examples, pad, epoch) = (5, 9, 2, 4);
    let stream = Stream::new(2, "augment");
    let mut bytes = Stream::new(2, "bytes").draws(0, 0);
    let images: Vec<u8> = (0..examples * 3 * size * size).map(|_| bytes.next_u32() as u8).collect();
    let rows = [8_u32, 0, 3, 3, 5];
    let mut expected = Vec::new();
    for row in rows {
        let mut draws = stream.draws(epoch, u64::from(row));
        let places = 2 * pad as u32 + 1;
        let (top, left, flip) =
            (draws.below(places) as usize, draws.below(places) as usize, draws.below(2) == 1);
        for at in 0..3 * size * size {
            let (x, y, plane) = (at % size, at / size % size, at / size / size);
            let x = if flip { size - 1 - x } else { x };
            let (from_y, from_x) = ((y + top).wrapping_sub(pad), (x + left).wrapping_sub(pad));
            let inside = from_y < size && from_x < size;
            let byte = |y: usize, x: usize| images[((row as usize * 3 + plane) * size + y) * size + x];
            expected.push(if inside { f32::from(byte(from_y, from_x)) / 255.0 } else { 0.0 });
        }
    }
    for arena in devices() {
        let bytes = arena.take(images.len()).unwrap();
        arena.backend().upload(&images, bytes.at()).unwrap();
        let (order, to) = (arena.words(&rows).unwrap(), arena.floats(expected.len()).unwrap());
        let memory = (bytes.at(), order.at(), to.at());
        let sizes = (rows.len(), size);
        // SAFETY: the rows name examples, the memory holds them.
        unsafe { draws::augment(arena.backend(), memory, sizes, Some(pad), (stream, epoch)) }.unwrap();
        assert_eq!(to.read(expected.len()).unwrap(), expected);
        // SAFETY: as above.
        unsafe { draws::augment(arena.backend(), memory, sizes, None, (stream, epoch)) }.unwrap();
        let whole = rows.iter().flat_map(|row| &images[*row as usize * 75..][..75]);
        let whole: Vec<f32> = whole.map(|byte| f32::from(*byte) / 255.0).collect();
        assert_eq!(to.read(whole.len()).unwrap(), whole);
        let labels: Vec<u32> = (0..examples as u32).map(|row| row * 7).collect();
        let (labels, to) = (arena.words(&labels).unwrap(), arena.floats(rows.len()).unwrap());
        let memory = (labels.at(), order.at(), to.at());
        // SAFETY: as above.
        unsafe { draws::gather_labels(arena.backend(), memory, rows.len()) }.unwrap();
        let found: Vec<u32> = to.read(rows.len()).unwrap().iter().map(|bits| bits.to_bits()).collect();
        assert_eq!(found, rows.map(|row| row * 7));
    }
}
