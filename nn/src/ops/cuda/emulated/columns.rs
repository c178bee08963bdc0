//! The kernels by columns against their definition, over maps that take a thread more than one vector, and more than the
//! vectors that it has on the way at a time.

use half::bf16;
use random::Stream;

use super::kernels::{devices, normals};
use crate::engine::graph::Feature;
use crate::ops::cpu::geometry::ConvShape;
use crate::ops::cuda::backend::{Arena, Element};
use crate::ops::cuda::convolution::{Call, Epilogue, Pass, finish};
use crate::ops::cuda::norm::{self, Norm, table_len};
use crate::ops::cuda::pointwise::{self, Map, Rows, Skip};

/// A map's values as they are stored.
pub(super) fn stored(element: Element, values: &[f32]) -> Vec<f32> {
    match element {
        Element::F32 => values.to_vec(),
        Element::Bf16 => values.iter().map(|value| bf16::from_f32(*value).to_f32()).collect(),
    }
}

pub(super) fn write(map: &Map, values: &[f32], arena: &Arena) {
    assert_eq!(map.len(), values.len());
    let bytes: Vec<u8> = match map.element {
        Element::F32 => values.iter().flat_map(|value| value.to_le_bytes()).collect(),
        Element::Bf16 => values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect(),
    };
    arena.backend().upload(&bytes, map.at()).unwrap();
}

pub(super) fn read(map: &Map, arena: &Arena) -> Vec<f32> {
    let mut bytes = vec![0; map.bytes()];
    arena.backend().download(map.at(), &mut bytes).unwrap();
    match map.element {
        Element::F32 => bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect(),
        Element::Bf16 => {
            bytes.as_chunks::<2>().0.iter().map(|value| bf16::from_le_bytes(*value).to_f32()).collect()
        }
    }
}

/// A map's shape and rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub element: Element,
    pub shape: Feature,
    pub rows: Rows,
}

impl Case {
    pub(super) fn pixels(&self) -> usize {
        self.shape.height * self.shape.width
    }

    pub(super) fn len(&self) -> usize {
        self.rows.count() * self.pixels() * self.shape.channels
    }

    /// The batch-norm group and the channel of a value.
    pub(super) fn place(&self, at: usize) -> (usize, usize) {
        let Rows { batch, groups, .. } = self.rows;
        let image = at / self.shape.channels / self.pixels() % batch;
        let group = (0..groups).find(|group| image < (group + 1) * batch / groups).unwrap();
        (group, at % self.shape.channels)
    }

    pub(super) fn map(&self, arena: &Arena, values: &[f32]) -> Map {
        let map = Map::new(arena, self.element, self.shape, self.rows.count()).unwrap();
        write(&map, values, arena);
        map
    }

    /// Relative to the larger of 1 and what is expected.
    fn hold(&self, what: &str, found: &[f32], expected: impl Fn(usize) -> f64) {
        let tolerance = if self.element == Element::Bf16 { 1.0 / 256.0 } else { 4e-6 };
        for (at, found) in found.iter().enumerate() {
            let expected = expected(at);
            let off = (f64::from(*found) - expected).abs() / expected.abs().max(1.0);
            assert!(off <= tolerance, "{what} at {at}: {found}, not {expected}; {self:?}");
        }
    }
}

/// 1, 4 and 8 channels at a time; 1, 3, 5 and 8 columns, of which some are no divisor of a block's threads; one group, and
/// groups of two sizes.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (element, channels) in [
        (Element::F32, 5),
        (Element::F32, 12),
        (Element::F32, 32),
        (Element::Bf16, 3),
        (Element::Bf16, 20),
        (Element::Bf16, 8),
        (Element::Bf16, 40),
    ] {
        for (members, batch, groups) in [(1, 7, 1), (3, 4, 1), (2, 7, 3), (1, 5, 2)] {
            let shape = Feature { channels, height: 18, width: 14 };
            cases.push(Case { element, shape, rows: Rows { members, batch, groups } });
        }
    }
    cases
}

/// Larger than what all blocks together have on the way at a time.
fn large() -> Case {
    let shape = Feature { channels: 5, height: 250, width: 230 };
    Case { element: Element::F32, shape, rows: Rows { members: 2, batch: 3, groups: 2 } }
}

#[test]
fn norms_by_columns() {
    for case in cases().into_iter().chain([large()]) {
        let Case { shape, rows, .. } = case;
        let channels = shape.channels;
        let mut draws = Stream::new(11, "columns").draws(0, 0);
        let [z, grad, raw] = [(); 3].map(|()| stored(case.element, &normals(&mut draws, case.len())));
        let tables = [(); 2].map(|()| normals(&mut draws, table_len(channels, rows.groups)));
        let offsets = normals(&mut draws, 2 * channels * rows.groups);
        // The `index`-th entry of a table for a value.
        let entry = |table: &[f32], index: usize, at: usize| {
            let (group, channel) = case.place(at);
            f64::from(table[(index * rows.groups + group) * channels + channel])
        };
        let normed = |table: &[f32], values: &[f32], at: usize| {
            let away = f64::from(values[at]) - entry(table, 0, at);
            away * entry(table, 1, at) + entry(table, 2, at)
        };
        // In f32, as a mask is taken.
        let masked = |at: usize| {
            let [mean, scale, shift] = [0, 1, 2].map(|index| entry(&tables[0], index, at) as f32);
            (z[at] - mean) * scale + shift > 0.0
        };
        for arena in devices() {
            let backend = arena.backend();
            let maps = [&z, &grad, &raw].map(|values| case.map(&arena, values));
            let buffers = [&tables[0], &tables[1]].map(|values| arena.values(values).unwrap());
            let [by, other] = [0, 1].map(|index| Norm { table: buffers[index].at() });
            let offsets_at = arena.values(&offsets).unwrap();
            let to = case.map(&arena, &vec![0.0; case.len()]);

            norm::norm_relu(backend, rows, &maps[0], &by, &to).unwrap();
            case.hold("norm_relu", &read(&to, &arena), |at| normed(&tables[0], &z, at).max(0.0));

            pointwise::join(backend, rows, &maps[0], &by, Skip::None, &to).unwrap();
            case.hold("join", &read(&to, &arena), |at| normed(&tables[0], &z, at).max(0.0));
            pointwise::join(backend, rows, &maps[0], &by, Skip::Map(&maps[2]), &to).unwrap();
            case.hold("join of a map", &read(&to, &arena), |at| {
                (normed(&tables[0], &z, at) + f64::from(raw[at])).max(0.0)
            });
            pointwise::join(backend, rows, &maps[0], &by, Skip::Normed(&maps[2], &other), &to).unwrap();
            case.hold("join of a normed map", &read(&to, &arena), |at| {
                (normed(&tables[0], &z, at) + normed(&tables[1], &raw, at)).max(0.0)
            });

            for (with_offsets, with_raw, with_mask) in
                [(true, true, true), (true, false, false), (false, true, true), (false, false, false)]
            {
                let at = if with_offsets { offsets_at.at() } else { 0 };
                let more = with_raw.then_some(&maps[2]);
                norm::norm_grad(backend, rows, &maps[1], &maps[0], &by, at, more, with_mask, &to).unwrap();
                case.hold("norm_grad", &read(&to, &arena), |at| {
                    let kept = if !with_mask || masked(at) { f64::from(grad[at]) } else { 0.0 };
                    let away = f64::from(z[at]) - entry(&tables[0], 0, at);
                    let taken = entry(&offsets, 0, at) + away * entry(&offsets, 1, at);
                    let kept = if with_offsets { kept - taken } else { kept };
                    entry(&tables[0], 1, at) * kept + if with_raw { f64::from(raw[at]) } else { 0.0 }
                });
            }
        }
    }
}

/// A shortcut without weights from half the channels and twice the extent, there and back, and a folded norm's rest.
#[test]
fn shortcuts_by_columns() {
    for case in cases() {
        let Case { element, shape, rows } = case;
        let channels = shape.channels;
        // Where the smaller map has no whole vectors, all of its channels.
        let thin = if channels % 2 == 0 { channels / 2 } else { channels };
        let wide = Feature { channels: thin, height: 2 * shape.height, width: 2 * shape.width };
        let from = Case { shape: wide, ..case };
        let mut draws = Stream::new(12, "columns").draws(0, 0);
        let sum = stored(element, &normals(&mut draws, case.len()));
        let larger = stored(element, &normals(&mut draws, from.len()));
        let bias = stored(element, &normals(&mut draws, channels));
        // The place in the larger map that a value of the sum comes from.
        let source = |at: usize| {
            let (channel, pixel) = (at % channels, at / channels);
            let (x, y, row) =
                (pixel % shape.width, pixel / shape.width % shape.height, pixel / case.pixels());
            let pixel = (row * wide.height + 2 * y) * wide.width + 2 * x;
            (channel < thin).then_some(pixel * thin + channel)
        };
        let mut back: Vec<f64> = larger.iter().map(|value| f64::from(*value)).collect();
        let mut share = vec![0.0; back.len()];
        for (at, value) in sum.iter().enumerate() {
            if let Some(place) = source(at) {
                back[place] += f64::from(*value);
                share[place] = f64::from(*value);
            }
        }
        for arena in devices() {
            let backend = arena.backend();
            let (to, large) = (case.map(&arena, &sum), from.map(&arena, &larger));
            pointwise::add_skip(backend, &to, Skip::Map(&large)).unwrap();
            case.hold("add_skip", &read(&to, &arena), |at| {
                f64::from(sum[at]) + source(at).map_or(0.0, |place| f64::from(larger[place]))
            });
            let grad = case.map(&arena, &sum);
            pointwise::spread(backend, &grad, &large, true).unwrap();
            from.hold("spread onto", &read(&large, &arena), |at| back[at]);
            pointwise::spread(backend, &grad, &large, false).unwrap();
            from.hold("spread", &read(&large, &arena), |at| share[at]);

            let map = Map::new(&arena, element, Feature { channels, height: 1, width: 1 }, 1).unwrap();
            write(&map, &bias, &arena);
            let (y, skip) = (case.map(&arena, &sum), case.map(&arena, &sum));
            let Feature { height, width, .. } = shape;
            let conv = ConvShape {
                channels_in: channels,
                channels_out: channels,
                kernel: 1,
                stride: 1,
                height,
                width,
            };
            let call = Call {
                pass: Pass::Forward,
                shape: conv,
                element,
                tf32: false,
                members: rows.members,
                batch: rows.batch,
                input_rows: rows.count(),
                input: 0,
                weight: 0,
                output: y.at(),
                bias: 0,
                bias_of_members: false,
                epilogue: Some(Epilogue { bias: map.at(), skip: skip.at() }),
                linear: false,
            };
            // SAFETY: the memory is of the call's sizes.
            unsafe { finish(backend, &call) }.unwrap();
            case.hold("finish_folded", &read(&y, &arena), |at| {
                (2.0 * f64::from(sum[at]) + f64::from(bias[at % channels])).max(0.0)
            });
        }
    }
}
