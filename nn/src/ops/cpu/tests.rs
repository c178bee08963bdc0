//! The kernels of every instruction set that this processor has, against sums taken product by product in f64; those with fused
//! multiply-add against each other, bit by bit.

#[path = "../../../tests/it/naive.rs"]
pub(crate) mod naive;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use random::{Draws, Stream};

use super::convolution::{Convolution, Weights};
use super::fold::Fold;
use super::geometry::ConvShape;
use super::pointwise::{self, Affine, Extent, Skip};
use super::simd::Level;
use super::{BLOCK, blocks, padded};

fn normals(draws: &mut Draws, len: usize) -> Vec<f32> {
    (0..len).map(|_| draws.normal()).collect()
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn magnitudes(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| v.abs()).collect()
}

/// (C / 16, H + 2 border, W + 2 border, 16) from (C, H, W), zeros elsewhere.
fn bordered(values: &[f32], channels: usize, height: usize, width: usize, border: usize) -> Vec<f32> {
    let (rows, cols) = (height + 2 * border, width + 2 * border);
    let mut to = vec![0.0; blocks(channels) * rows * cols * BLOCK];
    for c in 0..channels {
        for y in 0..height {
            for x in 0..width {
                let at = ((c / BLOCK * rows + y + border) * cols + x + border) * BLOCK + c % BLOCK;
                to[at] = values[(c * height + y) * width + x];
            }
        }
    }
    to
}

/// (C, pixels) from (C / 16, pixels, 16); the lanes without a channel must be zero.
fn unblocked(values: &[f32], channels: usize, pixels: usize) -> Result<Vec<f32>, String> {
    let mut to = vec![0.0; channels * pixels];
    for (at, value) in values.iter().enumerate() {
        let (channel, pixel) = (at / (pixels * BLOCK) * BLOCK + at % BLOCK, at / BLOCK % pixels);
        if channel < channels {
            to[channel * pixels + pixel] = *value;
        } else if *value != 0.0 {
            return Err(format!("lane {channel} of pixel {pixel} has no channel and holds {value}"));
        }
    }
    Ok(to)
}

/// The gradients (O, I, k, k) of packed `sums`.
pub(super) fn folded(convolution: &Convolution, level: Level, sums: &[f32]) -> Vec<f32> {
    let ConvShape { channels_in, channels_out, kernel, .. } = convolution.shape;
    let mut to = vec![0.0; channels_out * channels_in * kernel * kernel];
    let (weight, sums) = (to.clone(), [vec![sums]]);
    let fold = Fold { convolution, sums: &sums, weight: &weight, fast: None };
    for (block, to) in to.chunks_mut(BLOCK * channels_in * kernel * kernel).enumerate() {
        fold.block(level, block, to);
    }
    to
}

fn shapes() -> impl Strategy<Value = ConvShape> {
    (
        1..70_usize,
        1..70_usize,
        prop_oneof![Just(1_usize), Just(3), Just(5)],
        1..=2_usize,
        1..=20_usize,
        1..=20_usize,
    )
        .prop_map(|(channels_in, channels_out, kernel, stride, height, width)| ConvShape {
            channels_in,
            channels_out,
            kernel,
            stride,
            height,
            width,
        })
}

/// Magnitudes that are the largest of each `len` neighbours: in Winograd's form what belongs to one tile, or to one pair
/// of channels, is rounded together.
fn widened(magnitude: &[f64], len: usize) -> Vec<f64> {
    let largest = |part: &[f64]| vec![part.iter().copied().fold(0.0, f64::max); part.len()];
    magnitude.chunks(len).flat_map(largest).collect()
}

/// The three sums of `shape` over `images` images, for one member of a BatchEnsemble or a plain layer.
fn check_convolution(shape: ConvShape, images: usize, scaled: bool, seed: u64) -> Result<(), String> {
    let ConvShape { channels_in, channels_out, kernel, stride, height, width } = shape;
    let plain = naive::Shape { channels_in, channels_out, kernel, stride, height, width };
    let mut draws = Stream::new(seed, "kernels").draws(0, 0);
    let weight = normals(&mut draws, plain.weight_len());
    let (s, r) = (normals(&mut draws, channels_out), normals(&mut draws, channels_in));
    let inputs: Vec<_> = (0..images).map(|_| normals(&mut draws, plain.in_len())).collect();
    let grads_out: Vec<_> = (0..images).map(|_| normals(&mut draws, plain.out_len())).collect();

    let fast = scaled.then_some((&s[..], &r[..]));
    let own: Vec<f64> = (0..weight.len())
        .map(|at| {
            let (o, i) = (at / (channels_in * kernel * kernel), at / (kernel * kernel) % channels_in);
            f64::from(weight[at]) * fast.map_or(1.0, |(s, r)| f64::from(s[o]) * f64::from(r[i]))
        })
        .collect();
    let own_magnitude = magnitudes(&own);

    let convolution = Convolution::new(shape);
    let border = shape.pad();
    let (rows, cols) = (shape.out_height(), shape.out_width());
    let input_of = |n: usize| bordered(&inputs[n], channels_in, height, width, border);
    let grad_of = |n: usize| bordered(&grads_out[n], channels_out, rows, cols, border);
    let all_inputs: Vec<Vec<f32>> = (0..images).map(input_of).collect();
    let all_grads: Vec<Vec<f32>> = (0..images).map(grad_of).collect();
    let mut scratch = vec![f32::NAN; convolution.scratch_len()];

    let mut expected = vec![0.0; weight.len()];
    let mut magnitude = vec![0.0; weight.len()];
    let add = |to: &mut [f64], values: Vec<f64>| to.iter_mut().zip(values).for_each(|(to, v)| *to += v);
    // Twice: the second call adds to the first one's sums.
    for (input, grad) in inputs.iter().zip(&grads_out).cycle().take(2 * images) {
        let (input, grad) = (wide(input), wide(grad));
        add(&mut expected, naive::grad_weight(plain, &input, &grad));
        add(&mut magnitude, naive::grad_weight(plain, &magnitudes(&input), &magnitudes(&grad)));
    }
    // Largest of a whole channel: an upper bound of a tile's.
    let of_out = if convolution.is_minimal(false) { rows * cols } else { 1 };
    let of_in = if convolution.is_minimal(true) { height * width } else { 1 };
    let of_taps = if convolution.is_minimal(false) { kernel * kernel } else { 1 };
    let mut fused: Option<(Level, Vec<u32>)> = None;
    for level in Level::available() {
        let (mut packed, mut transposed) =
            (vec![f32::NAN; convolution.packed_len(false)], vec![f32::NAN; convolution.packed_len(true)]);
        convolution.pack_forward(level, &weight, fast, &mut packed);
        convolution.pack_transposed(level, &weight, fast, &mut transposed);
        let mut bits: Vec<u32> = packed.iter().chain(&transposed).map(|value| value.to_bits()).collect();
        let weights = |packed| Weights { packed, plain: &weight, fast };
        let mut outs = vec![vec![f32::NAN; blocks(channels_out) * rows * cols * BLOCK]; images];
        let reads: Vec<&[f32]> = all_inputs.iter().map(|v| &v[..]).collect();
        let mut writes: Vec<&mut [f32]> = outs.iter_mut().map(|v| &mut v[..]).collect();
        convolution.forward(level, &reads, weights(&packed), &mut writes, &mut scratch);
        bits.extend(outs.iter().flatten().map(|value| value.to_bits()));
        for (n, out) in outs.iter().enumerate() {
            let input = wide(&inputs[n]);
            naive::compare(
                &format!("{level:?} forward, image {n}"),
                &unblocked(out, channels_out, rows * cols)?,
                &naive::forward(plain, &own, &input),
                &widened(&naive::forward(plain, &own_magnitude, &magnitudes(&input)), of_out),
            )?;
        }
        let mut outs = vec![vec![f32::NAN; blocks(channels_in) * height * width * BLOCK]; images];
        let reads: Vec<&[f32]> = all_grads.iter().map(|v| &v[..]).collect();
        let mut writes: Vec<&mut [f32]> = outs.iter_mut().map(|v| &mut v[..]).collect();
        convolution.grad_input(level, &reads, weights(&transposed), &mut writes, &mut scratch);
        bits.extend(outs.iter().flatten().map(|value| value.to_bits()));
        for (n, out) in outs.iter().enumerate() {
            let grad = wide(&grads_out[n]);
            naive::compare(
                &format!("{level:?} gradient by input, image {n}"),
                &unblocked(out, channels_in, height * width)?,
                &naive::grad_input(plain, &own, &grad),
                &widened(&naive::grad_input(plain, &own_magnitude, &magnitudes(&grad)), of_in),
            )?;
        }
        let mut out = vec![0.0; convolution.packed_len(false)];
        for _ in 0..2 {
            let (inputs, grads) = (all_inputs.concat(), all_grads.concat());
            convolution.grad_weight(level, &inputs, &grads, images, &mut out, &mut scratch);
        }
        bits.extend(out.iter().map(|value| value.to_bits()));
        let found = folded(&convolution, level, &out);
        naive::compare(
            &format!("{level:?} gradient by weight"),
            &found,
            &expected,
            &widened(&magnitude, of_taps),
        )?;
        // Tiles differ, the order of a sum does not.
        if level > Level::Portable {
            let (other, same) = fused.get_or_insert_with(|| (level, bits.clone()));
            if *same != bits {
                return Err(format!("{level:?} and {other:?} give other bits"));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, rng_seed: RngSeed::Fixed(1), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn convolution_is_the_sum_by_definition(
        shape in shapes(), images in 1..=4_usize, scaled in any::<bool>(), seed in any::<u64>(),
    ) {
        prop_assert_eq!(check_convolution(shape, images, scaled, seed), Ok(()), "{:?}", shape);
    }

    /// The shapes that are computed in Winograd's form, and their neighbours that are not for want of a block of channels.
    #[test]
    fn minimal_convolution_is_the_sum_by_definition(
        (channels_in, channels_out) in (14..70_usize, 14..70_usize), (rows, cols) in (1..=10_usize, 1..=10_usize),
        images in 1..=4_usize, scaled in any::<bool>(), seed in any::<u64>(),
    ) {
        let shape =
            ConvShape { channels_in, channels_out, kernel: 3, stride: 1, height: 2 * rows, width: 2 * cols };
        prop_assert_eq!(check_convolution(shape, images, scaled, seed), Ok(()), "{:?}", shape);
    }
}

/// What is not finite reaches the pixels that the definition says, and no others of its tile.
#[test]
fn convolution_keeps_what_is_not_finite_where_it_belongs() {
    let shape = ConvShape { channels_in: 16, channels_out: 32, kernel: 3, stride: 1, height: 8, width: 6 };
    let ConvShape { channels_in, channels_out, kernel, stride, height, width } = shape;
    let plain = naive::Shape { channels_in, channels_out, kernel, stride, height, width };
    let convolution = Convolution::new(shape);
    let mut draws = Stream::new(5, "kernels").draws(0, 0);
    let weight = normals(&mut draws, plain.weight_len());
    let (mut forward, mut transposed) =
        (vec![0.0; convolution.packed_len(false)], vec![0.0; convolution.packed_len(true)]);
    convolution.pack_forward(Level::detect(), &weight, None, &mut forward);
    convolution.pack_transposed(Level::detect(), &weight, None, &mut transposed);
    let mut scratch = vec![0.0; convolution.scratch_len()];
    let with = |mut values: Vec<f32>| {
        values[width + 1] = f32::NAN;
        values[3 * height * width - 1] = f32::INFINITY;
        values[5 * height * width - 1] = f32::NEG_INFINITY;
        values
    };
    let same = |what: &str, found: &[f32], expected: &[f64]| {
        let odd = expected.iter().filter(|value| !value.is_finite()).count();
        assert!(odd > 0 && odd < expected.len() / 2, "{odd}");
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            let (found, near) = (f64::from(*found), (f64::from(*found) - expected).abs() < 1e-4);
            assert!(
                near || found == *expected || (found.is_nan() && expected.is_nan()),
                "{what}[{at}]: {found}, expected {expected}"
            );
        }
    };
    let inputs = with(normals(&mut draws, plain.in_len()));
    let grads = with(normals(&mut draws, plain.out_len()));
    for level in Level::available() {
        let weights = |packed| Weights { packed, plain: &weight, fast: None };
        let mut out = vec![0.0; blocks(channels_out) * height * width * BLOCK];
        let input = bordered(&inputs, channels_in, height, width, 1);
        convolution.forward(level, &[&input], weights(&forward), &mut [&mut out], &mut scratch);
        let found = unblocked(&out, channels_out, height * width).expect("zeros where there is no channel");
        let expected = naive::forward(plain, &wide(&weight), &wide(&inputs));
        same(&format!("{level:?} forward"), &found, &expected);

        let mut grad_in = vec![0.0; blocks(channels_in) * height * width * BLOCK];
        let grad = bordered(&grads, channels_out, height, width, 1);
        convolution.grad_input(level, &[&grad], weights(&transposed), &mut [&mut grad_in], &mut scratch);
        let found =
            unblocked(&grad_in, channels_in, height * width).expect("zeros where there is no channel");
        let expected = naive::grad_input(plain, &wide(&weight), &wide(&grads));
        same(&format!("{level:?} gradient by input"), &found, &expected);
    }
}

/// The edges of the tiles: images of one row or column, one channel, and channels around a block.
#[test]
fn convolution_of_the_smallest_shapes() {
    for channels in [1, 15, 16, 17, 32, 33] {
        for (kernel, stride) in [(1, 1), (1, 2), (3, 1), (3, 2)] {
            for (height, width) in [(1, 1), (1, 2), (2, 1), (2, 3), (1, 17)] {
                let shape = ConvShape {
                    channels_in: channels,
                    channels_out: channels,
                    kernel,
                    stride,
                    height,
                    width,
                };
                let checked = check_convolution(shape, 2, false, channels as u64);
                assert_eq!(checked, Ok(()), "{shape:?}");
            }
        }
    }
}

/// A value too small for a normal f32 is not flushed to zero: 1e-40 times 1 is 1e-40.
#[test]
fn denormals_stay() {
    let shape = ConvShape { channels_in: 1, channels_out: 1, kernel: 1, stride: 1, height: 1, width: 1 };
    let convolution = Convolution::new(shape);
    let mut packed = vec![0.0; convolution.packed_len(false)];
    convolution.pack_forward(Level::detect(), &[1.0], None, &mut packed);
    for level in Level::available() {
        let mut out = vec![0.0; BLOCK];
        let weights = Weights { packed: &packed, plain: &[1.0], fast: None };
        convolution.forward(level, &[&bordered(&[1e-40], 1, 1, 1, 0)], weights, &mut [&mut out], &mut []);
        assert_eq!(out[0], 1e-40, "{level:?}");
    }
}

fn affine(draws: &mut Draws, channels: usize) -> Affine {
    let mut lanes = || (0..padded(channels)).map(|_| draws.normal()).collect();
    Affine { mean: lanes(), scale: lanes(), shift: lanes() }
}

/// relu((z - mean) scale + shift + skip) by hand for each element, where NaN stays NaN and -inf becomes 0.
#[test]
fn joins_and_norms_keep_what_is_not_finite() {
    let extent = Extent { blocks: 2, height: 3, width: 5, border: 1 };
    let mut draws = Stream::new(3, "kernels").draws(0, 0);
    let affine = affine(&mut draws, 2 * BLOCK);
    let mut z = normals(&mut draws, extent.len());
    let skip = normals(&mut draws, extent.len());
    for (at, value) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY].into_iter().cycle().take(60).enumerate() {
        z[at * 7] = value;
    }
    let relu = |value: f32| if value < 0.0 { 0.0 } else { value };
    let norm = |at: usize| {
        let lane = at / (15 * BLOCK) * BLOCK + at % BLOCK;
        f64::from(z[at] - affine.mean[lane])
            .mul_add(f64::from(affine.scale[lane]), f64::from(affine.shift[lane])) as f32
    };
    let same = |found: f32, expected: f32| {
        (found.is_nan() && expected.is_nan()) || found == expected || (found - expected).abs() < 1e-5
    };
    let mut fused: Option<Vec<u32>> = None;
    for level in Level::available() {
        let mut joined = vec![0.0; extent.len()];
        let image = Skip::Image { values: &skip, blocks: 2, stride: 1, height: 3, width: 5 };
        // SAFETY: the slices hold `extent`'s images, the levels are those that the processor has.
        unsafe { pointwise::join(level, &z, &affine, image, &mut joined, &extent) }
        let mut normed = vec![f32::NAN; extent.bordered_len()];
        // SAFETY: as above.
        unsafe { pointwise::norm_relu(level, &z, &affine, &mut normed, &extent) }
        if level > Level::Portable {
            let bits = joined.iter().chain(&normed).map(|value| value.to_bits()).collect();
            assert!(*fused.get_or_insert_with(|| Vec::clone(&bits)) == bits, "{level:?}: other bits");
        }
        for (at, value) in joined.iter().enumerate() {
            let expected = relu(norm(at) + skip[at]);
            assert!(same(*value, expected), "{level:?} join {at}: {value} {expected}");
            let (pixel, block) = (at / BLOCK % 15, at / (15 * BLOCK));
            let bordered = ((block * 5 + pixel / 5 + 1) * 7 + pixel % 5 + 1) * BLOCK + at % BLOCK;
            let (value, expected) = (normed[bordered], relu(norm(at)));
            assert!(same(value, expected), "{level:?} norm {at}: {value} {expected}");
        }
        let border = normed.iter().enumerate().filter(|(at, _)| {
            let (y, x) = (at / (7 * BLOCK) % 5, at / BLOCK % 7);
            y == 0 || y == 4 || x == 0 || x == 6
        });
        assert!(
            border.clone().count() == 2 * 20 * BLOCK && border.into_iter().all(|(_, value)| *value == 0.0)
        );
    }
}
