//! Sums over maps against their definition, and the counters by which a launch's last blocks know that they are: launches
//! one after the other, of maps that are cut differently.

use random::{Draws, Stream};

use super::columns::{Case, cases, read, stored};
use super::kernels::{devices, normals};
use crate::engine::graph::Feature;
use crate::ops::cuda::backend::{Arena, Buffer, Element};
use crate::ops::cuda::norm::{self, Grads, Norm, Places, table_len};
use crate::ops::cuda::parts::Parts;
use crate::ops::cuda::pointwise::{self, Map, Rows, Skip};

/// Beside those of other kernels: several tiles of columns, of which the last is not full, or all are; as many parts as there can
/// be.
fn all_cases() -> Vec<Case> {
    let case = |element, channels, (height, width), rows| {
        let shape = Feature { channels, height, width };
        Case { element, shape, rows }
    };
    let mut cases = cases();
    cases.push(case(Element::F32, 75, (6, 4), Rows { members: 2, batch: 5, groups: 2 }));
    cases.push(case(Element::F32, 136, (6, 4), Rows { members: 1, batch: 5, groups: 3 }));
    cases.push(case(Element::Bf16, 264, (6, 4), Rows { members: 2, batch: 3, groups: 1 }));
    cases.push(case(Element::Bf16, 160, (6, 4), Rows { members: 2, batch: 3, groups: 1 }));
    cases.push(case(Element::F32, 32, (120, 110), Rows { members: 2, batch: 3, groups: 1 }));
    cases.push(case(Element::F32, 32, (60, 50), Rows { members: 2, batch: 7, groups: 3 }));
    cases
}

/// Sums by group and channel, with how many values there are of each.
fn sums(case: &Case, value: impl Fn(usize) -> f64) -> (Vec<f64>, Vec<f64>) {
    let places = case.shape.channels * case.rows.groups;
    let (mut sums, mut counts) = (vec![0.0; places], vec![0.0; places]);
    for at in 0..case.len() {
        let (group, channel) = case.place(at);
        sums[group * case.shape.channels + channel] += value(at);
        counts[group * case.shape.channels + channel] += 1.0;
    }
    (sums, counts)
}

/// Within `tolerance` of `of`, or of what is expected where that is larger.
fn hold(what: &str, case: &Case, found: &[f32], expected: &[f64], tolerance: f64, of: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (f64::from(*found) - expected).abs() / expected.abs().max(of);
        assert!(off <= tolerance, "{what} at {at}: {found}, not {expected}; {case:?}");
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Floats that show when they are not written.
fn blank(arena: &Arena, len: usize) -> Buffer {
    arena.values(&vec![f32::NAN; len]).unwrap()
}

/// Runs every case twice on one set of counters, in both orders of threads: the same bits each time, and no counter left.
fn on_shared_counters(mut run: impl FnMut(&Arena, &Case, &mut Draws) -> Vec<f32>) {
    let mut seen: Option<Vec<Vec<u32>>> = None;
    for arena in devices() {
        let mut found = Vec::new();
        for case in all_cases() {
            let draws = || Stream::new(17, "sums").draws(0, case.len() as u64);
            let first = run(&arena, &case, &mut draws());
            let second = run(&arena, &case, &mut draws());
            assert_eq!(bits(&first), bits(&second), "a second launch; {case:?}");
            assert!(arena.counter_bytes().iter().all(|byte| *byte == 0), "{case:?}");
            found.push(bits(&first));
        }
        assert_eq!(*seen.get_or_insert_with(|| found.clone()), found, "the order of threads changes bits");
    }
}

#[test]
fn statistics() {
    on_shared_counters(|arena, case, draws| {
        let Case { element, shape, rows } = *case;
        let channels = shape.channels;
        let z = stored(element, &normals(draws, case.len()));
        let skip = stored(element, &normals(draws, case.len()));
        let [gamma, beta, mean, var] = [(); 4].map(|()| normals(draws, channels));
        let mut all = Vec::new();
        for (has_skip, follow) in [(false, true), (true, false)] {
            let (map, more) = (case.map(arena, &z), case.map(arena, &skip));
            let [gamma_at, beta_at, mean_at, var_at] =
                [&gamma, &beta, &mean, &var].map(|values| arena.values(values).unwrap());
            let table = blank(arena, table_len(channels, rows.groups));
            let parts = Parts::new(arena, &map, rows).unwrap();
            let running = follow.then(|| [mean_at.at(), var_at.at()]);
            let places = Places { gamma: gamma_at.at(), beta: beta_at.at(), running };
            let from = if has_skip { Skip::Map(&more) } else { Skip::None };
            let (norm, constants) = (Norm { table: table.at() }, (1e-3, 0.25));
            norm::moments(arena.backend(), rows, &map, from, &parts, places, &norm, constants).unwrap();

            let summed: Vec<f32> = z.iter().zip(&skip).map(|(z, skip)| z + skip).collect();
            let values = if has_skip { stored(element, &summed) } else { z.clone() };
            assert_eq!(bits(&read(&map, arena)), bits(&values), "{case:?}");
            let (totals, counts) = sums(case, |at| f64::from(values[at]));
            let means: Vec<f64> = totals.iter().zip(&counts).map(|(sum, count)| sum / count).collect();
            let (squares, _) = sums(case, |at| {
                let (group, channel) = case.place(at);
                (f64::from(values[at]) - means[group * channels + channel]).powi(2)
            });
            let inverse = |at: usize| 1.0 / (squares[at] / counts[at] + 1e-3).sqrt();
            let places = || 0..channels * rows.groups;
            let expected = [
                means.clone(),
                places().map(|at| f64::from(gamma[at % channels]) * inverse(at)).collect(),
                places().map(|at| f64::from(beta[at % channels])).collect(),
                places().map(inverse).collect(),
            ];
            let table = table.read(table_len(channels, rows.groups)).unwrap();
            hold("the table", case, &table, &expected.concat(), 1e-5, 1.0);
            let moved = |before: f32, to: f64| match follow {
                true => f64::from(before) * 0.75 + to * 0.25,
                false => f64::from(before),
            };
            let expected = (0..channels).map(|c| moved(mean[c], means[c])).collect::<Vec<_>>();
            let [mean_now, var_now] = [mean_at, var_at].map(|buffer| buffer.read(channels).unwrap());
            hold("the running mean", case, &mean_now, &expected, 1e-5, 1.0);
            let expected: Vec<f64> =
                (0..channels).map(|c| moved(var[c], squares[c] / (counts[c] - 1.0))).collect();
            hold("the running variance", case, &var_now, &expected, 1e-5, 1.0);
            all.extend([table, mean_now, var_now].concat());
        }
        all
    });
}

/// What becomes of a norm's sums: offsets and slopes, and the gradients of gamma and beta.
struct Sums {
    gamma: Buffer,
    beta: Buffer,
    offsets: Buffer,
}

impl Sums {
    fn new(arena: &Arena, case: &Case) -> Self {
        let channels = case.shape.channels;
        let [gamma, beta] = [(); 2].map(|()| blank(arena, channels));
        Self { gamma, beta, offsets: blank(arena, 2 * channels * case.rows.groups) }
    }

    fn grads(&self, with_params: bool, with_offsets: bool) -> Grads {
        let at = |wanted, buffer: &Buffer| if wanted { buffer.at() } else { 0 };
        let (gamma, beta) = (at(with_params, &self.gamma), at(with_params, &self.beta));
        Grads { gamma, beta, offsets: at(with_offsets, &self.offsets) }
    }

    /// Holds what is wanted to the sums over `kept`, and the rest to not being written; gives what is wanted.
    fn check(&self, case: &Case, grads: Grads, (kept, z): (&[f64], &[f32]), table: &[f32]) -> Vec<f32> {
        let (channels, groups) = (case.shape.channels, case.rows.groups);
        let mean = |at: usize| {
            let (group, channel) = case.place(at);
            f64::from(table[group * channels + channel])
        };
        let inverse = |place: usize| f64::from(table[3 * groups * channels + place]);
        let (sum, counts) = sums(case, |at| kept[at]);
        let (product, _) = sums(case, |at| kept[at] * (f64::from(z[at]) - mean(at)));
        let mut all = Vec::new();
        let mut hold = |what: &str, buffer: &Buffer, wanted: bool, expected: Vec<f64>, of: f64| {
            let found = buffer.read(expected.len()).unwrap();
            match wanted {
                true => hold(what, case, &found, &expected, 1e-5, of),
                false => assert!(found.iter().all(|value| value.is_nan()), "{what}"),
            }
            all.extend(found);
        };
        let over_groups = |value: &dyn Fn(usize) -> f64| -> Vec<f64> {
            (0..channels).map(|c| (0..groups).map(|group| value(group * channels + c)).sum()).collect()
        };
        // Sums of as many values of either sign are off by what they are made of.
        let size = counts[0].sqrt();
        hold(
            "gamma",
            &self.gamma,
            grads.gamma != 0,
            over_groups(&|at| product[at] * inverse(at)),
            4.0 * size,
        );
        hold("beta", &self.beta, grads.beta != 0, over_groups(&|at| sum[at]), size);
        let places = || 0..channels * groups;
        let expected = [
            places().map(|at| sum[at] / counts[at]).collect::<Vec<f64>>(),
            places().map(|at| product[at] * inverse(at).powi(2) / counts[at]).collect(),
        ];
        hold("offsets and slopes", &self.offsets, grads.offsets != 0, expected.concat(), 4.0);
        all
    }
}

#[test]
fn gradients_behind_a_norm() {
    on_shared_counters(|arena, case, draws| {
        let Case { element, shape, rows } = *case;
        let [z, grad] = [(); 2].map(|()| stored(element, &normals(draws, case.len())));
        let table = normals(draws, table_len(shape.channels, rows.groups));
        let entry = |index: usize, at: usize| {
            let (group, channel) = case.place(at);
            table[(index * rows.groups + group) * shape.channels + channel]
        };
        let mut all = Vec::new();
        for (masked, with_params, with_offsets) in
            [(true, true, true), (false, true, false), (true, false, true)]
        {
            let maps = [&grad, &z].map(|values| case.map(arena, values));
            let table_at = arena.values(&table).unwrap();
            let norm = Norm { table: table_at.at() };
            let found = Sums::new(arena, case);
            let grads = found.grads(with_params, with_offsets);
            let parts = Parts::new(arena, &maps[0], rows).unwrap();
            norm::grad_sums(arena.backend(), rows, &maps[0], &maps[1], &norm, masked, &parts, grads).unwrap();
            let kept = |at: usize| {
                let normed = (z[at] - entry(0, at)) * entry(1, at) + entry(2, at);
                if !masked || normed > 0.0 { f64::from(grad[at]) } else { 0.0 }
            };
            let kept: Vec<f64> = (0..case.len()).map(kept).collect();
            all.extend(found.check(case, grads, (&kept, &z), &table));
        }
        all
    });
}

/// The gradient of what comes after a block, of nothing, of a map of its shape, and of one of half the extent.
#[test]
fn gradients_of_a_block() {
    on_shared_counters(|arena, case, draws| {
        let Case { element, shape, rows } = *case;
        let Feature { channels, height, width } = shape;
        let half = Feature { channels: 2 * channels, height: height / 2, width: width / 2 };
        let [z, grad, out, same] = [(); 4].map(|()| stored(element, &normals(draws, case.len())));
        let smaller = Case { shape: half, ..*case };
        let strided = stored(element, &normals(draws, smaller.len()));
        let table = normals(draws, table_len(channels, rows.groups));
        let maps = [(&same, case), (&strided, &smaller)].map(|(values, case)| case.map(arena, values));
        let mut all = Vec::new();
        for (next, wanted) in [(None, true), (Some(0), true), (Some(1), true), (Some(1), false)] {
            let to = [&grad, &out, &z].map(|values| case.map(arena, values));
            let table_at = arena.values(&table).unwrap();
            let norm = Norm { table: table_at.at() };
            let found = Sums::new(arena, case);
            let grads = found.grads(wanted, wanted);
            let parts = Parts::new(arena, &to[0], rows).unwrap();
            let more: Option<&Map> = next.map(|next: usize| &maps[next]);
            let sums = wanted.then_some(grads);
            let backend = arena.backend();
            pointwise::join_grad(backend, rows, &to[0], more, &to[1], &to[2], &norm, &parts, sums).unwrap();
            let handed_back = |at: usize| {
                let (c, pixel) = (at % channels, at / channels);
                let (x, y, row) = (pixel % width, pixel / width % height, pixel / width / height);
                match next {
                    None => 0.0,
                    Some(0) => same[at],
                    Some(_) if x % 2 == 1 || y % 2 == 1 => 0.0,
                    Some(_) => {
                        let pixel = (row * half.height + y / 2) * half.width + x / 2;
                        strided[pixel * half.channels + c]
                    }
                }
            };
            let kept = |at: usize| if out[at] > 0.0 { grad[at] + handed_back(at) } else { 0.0 };
            let kept = stored(element, &(0..case.len()).map(kept).collect::<Vec<_>>());
            assert_eq!(bits(&read(&to[0], arena)), bits(&kept), "{case:?}");
            let kept: Vec<f64> = kept.into_iter().map(f64::from).collect();
            all.extend(found.check(case, grads, (&kept, &z), &table));
        }
        all
    });
}

/// What is recorded runs beside other work, in an arena of its own: counters are never shared by what runs at one time.
#[test]
fn an_arena_has_counters_of_its_own() {
    for arena in devices() {
        let first = arena.counters(3).unwrap();
        assert_eq!(arena.counters(64).unwrap(), first);
        assert_ne!(arena.private().counters(3).unwrap(), first);
        let more = arena.counters(65).unwrap();
        assert_ne!(more, first);
        assert_eq!(arena.counters(3).unwrap(), more);
    }
}
