//! From the sums of a convolution's tasks to the gradients of W, and of s and r where the layer is a BatchEnsemble's.
//!
//! A member's own weights are W o (s r^T). From the gradient G by them W gets sum over members of s_o r_i G, s_o gets sum
//! over i of W r_i G, and r_i gets sum over o of W s_o G. The last two are sums in f64, and all are taken in one order, whatever
//! the instruction set: the bits are the same.

use std::array::from_fn;

use super::convolution::{Convolution, Fast};
use super::simd::{Lanes, Level, simd_kernel};
use super::{BLOCK, blocks};

/// Values of the sixteen outputs of a block.
type Block<T> = [T; BLOCK];

/// What is folded.
pub(crate) struct Fold<'a> {
    pub convolution: &'a Convolution,
    /// By member the tasks' sums in the order of the packed weights, which are added up one after the other.
    pub sums: &'a [Vec<&'a [f32]>],
    /// W (O, I, k, k).
    pub weight: &'a [f32],
    /// Of all members.
    pub fast: Fast<'a>,
}

/// What the outputs of one block say of s and r.
pub(crate) struct FastGradients {
    /// By member, the gradients of the block's s.
    pub s: Vec<Block<f64>>,
    /// (M, I), the block's part of the gradients of r.
    pub r: Vec<f64>,
}

impl Fold<'_> {
    /// Adds the gradients of the weights of `block`'s outputs to `to` (outputs of the block, I, k, k).
    pub(crate) fn block(&self, level: Level, block: usize, to: &mut [f32]) -> FastGradients {
        let shape = &self.convolution.shape;
        assert!(block < blocks(shape.channels_out));
        let (members, channels) = (self.sums.len(), shape.channels_in);
        let (outputs, square) = (self.convolution.outputs(block), shape.kernel * shape.kernel);
        assert!(
            to.len() == outputs * channels * square
                && self.weight.len() == shape.channels_out * channels * square
        );
        let len = self.convolution.packed_len(false);
        assert!(self.sums.iter().flatten().all(|part| part.len() >= len));
        if let Some((s, r)) = self.fast {
            assert!(s.len() == members * shape.channels_out && r.len() == members * channels);
        }
        let mut fast = FastGradients { s: vec![[0.0; BLOCK]; members], r: vec![0.0; members * channels] };
        // SAFETY: all sums hold the packed weights.
        unsafe { fold(level, self, block, to, &mut fast) };
        fast
    }
}

simd_kernel! {
    /// [`Fold::block`].
    ///
    /// # Safety
    /// All sums must hold the packed weights.
    unsafe fn fold(what: &Fold<'_>, block: usize, to: &mut [f32], fast: &mut FastGradients) = fold_lanes
}

#[inline(always)]
unsafe fn fold_lanes<V: Lanes>(what: &Fold<'_>, block: usize, to: &mut [f32], fast: &mut FastGradients) {
    let Fold { convolution, sums, weight, .. } = what;
    let (channels, square) =
        (convolution.shape.channels_in, convolution.shape.kernel * convolution.shape.kernel);
    let (first, outputs) = (block * BLOCK, convolution.outputs(block));
    let own = &weight[first * channels * square..];
    let s: Vec<Block<f32>> = match what.fast {
        Some((s, _)) => {
            let of = |s: &[f32]| from_fn(|lane| if lane < outputs { s[first + lane] } else { 0.0 });
            s.chunks_exact(convolution.shape.channels_out).map(of).collect()
        }
        None => Vec::new(),
    };
    let (mut plain, mut grads, mut total) =
        (vec![[0.0_f32; BLOCK]; square], vec![[0.0_f32; BLOCK]; square], vec![[0.0_f32; BLOCK]; square]);
    for channel in 0..channels {
        total.fill([0.0; BLOCK]);
        if what.fast.is_some() {
            for (lane, row) in own.chunks_exact(channels * square).take(outputs).enumerate() {
                let taps = &row[channel * square..][..square];
                for (to, tap) in plain.iter_mut().zip(taps) {
                    to[lane] = *tap;
                }
            }
        }
        for (member, sums) in sums.iter().enumerate() {
            // SAFETY: the caller's.
            unsafe { convolution.unpack::<V>(sums, block, channel, &mut grads) };
            match what.fast {
                None => {
                    for (to, grad) in total.iter_mut().zip(&grads) {
                        for lane in 0..BLOCK {
                            to[lane] += grad[lane];
                        }
                    }
                }
                Some((_, r)) => {
                    let (s, r) = (&s[member], r[member * channels + channel]);
                    let (mut sum, mut of_s) = ([0.0_f64; BLOCK], fast.s[member]);
                    for ((to, grad), plain) in total.iter_mut().zip(&grads).zip(&plain) {
                        for lane in 0..BLOCK {
                            to[lane] += grad[lane] * (s[lane] * r);
                            let product = f64::from(grad[lane]) * f64::from(plain[lane]);
                            of_s[lane] += product * f64::from(r);
                            sum[lane] += product;
                        }
                    }
                    fast.s[member] = of_s;
                    for lane in 0..BLOCK {
                        sum[lane] *= f64::from(s[lane]);
                    }
                    // An input that is not finite times the zeros of a lane without a channel is no zero.
                    sum[outputs..].fill(0.0);
                    fast.r[member * channels + channel] = tree(sum);
                }
            }
        }
        for (lane, row) in to.chunks_exact_mut(channels * square).enumerate() {
            let taps = &mut row[channel * square..][..square];
            for (to, total) in taps.iter_mut().zip(&total) {
                *to += total[lane];
            }
        }
    }
}

/// The sum of all lanes, by halves.
#[inline(always)]
fn tree(mut lanes: Block<f64>) -> f64 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[half + lane];
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use random::Stream;

    use super::*;
    use crate::ops::cpu::geometry::ConvShape;
    use crate::ops::cpu::tests::folded;

    const MEMBERS: usize = 3;
    const PARTS: usize = 2;

    fn close(what: &str, found: &[f64], expected: &[f64]) {
        let largest = expected.iter().fold(0.0_f64, |most, value| most.max(value.abs()));
        for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
            assert!((found - expected).abs() <= 1e-6 * largest, "{what}[{at}]: {found}, expected {expected}");
        }
    }

    /// Directly and in Winograd's form, with blocks that are full and not.
    #[test]
    fn three_gradients_are_the_sums_by_definition() {
        for (channels_in, channels_out, kernel) in
            [(3, 16, 3), (16, 10, 1), (17, 33, 3), (32, 16, 3), (16, 20, 5)]
        {
            let shape = ConvShape { channels_in, channels_out, kernel, stride: 1, height: 4, width: 4 };
            let convolution = Convolution::new(shape);
            let (len, square) = (channels_out * channels_in * kernel * kernel, kernel * kernel);
            let mut draws = Stream::new(7, "kernels").draws(0, 0);
            let mut normals = |len: usize| (0..len).map(|_| draws.normal()).collect::<Vec<f32>>();
            let (weight, s, r) =
                (normals(len), normals(MEMBERS * channels_out), normals(MEMBERS * channels_in));
            let parts =
                [[(); PARTS]; MEMBERS].map(|parts| parts.map(|()| normals(convolution.packed_len(false))));
            let sums: Vec<Vec<&[f32]>> =
                parts.iter().map(|parts| parts.iter().map(|part| &part[..]).collect()).collect();
            let fold = Fold { convolution: &convolution, sums: &sums, weight: &weight, fast: Some((&s, &r)) };

            let (mut of_weight, mut of_s, mut of_r) =
                (vec![0.0; len], vec![0.0; s.len()], vec![0.0; r.len()]);
            for (member, parts) in parts.iter().enumerate() {
                let each = parts.each_ref().map(|part| folded(&convolution, Level::Portable, part));
                for at in 0..len {
                    let own = each.iter().map(|part| f64::from(part[at])).sum::<f64>();
                    let (o, i) = (at / (channels_in * square), at / square % channels_in);
                    let (o, i) = (member * channels_out + o, member * channels_in + i);
                    of_weight[at] += own * f64::from(s[o]) * f64::from(r[i]);
                    of_s[o] += own * f64::from(weight[at]) * f64::from(r[i]);
                    of_r[i] += own * f64::from(weight[at]) * f64::from(s[o]);
                }
            }

            let mut first: Option<Vec<u64>> = None;
            for level in Level::available() {
                let what = |name: &str| format!("{level:?} {shape:?} {name}");
                let mut found = vec![0.0; len];
                let outputs = found.chunks_mut(BLOCK * channels_in * square).enumerate();
                let blocks: Vec<FastGradients> =
                    outputs.map(|(block, to)| fold.block(level, block, to)).collect();
                let found: Vec<f64> = found.into_iter().map(f64::from).collect();
                let found_s: Vec<f64> = (0..s.len())
                    .map(|at| (at / channels_out, at % channels_out))
                    .map(|(member, o)| blocks[o / BLOCK].s[member][o % BLOCK])
                    .collect();
                let found_r: Vec<f64> =
                    (0..r.len()).map(|at| blocks.iter().map(|block| block.r[at]).sum()).collect();
                close(&what("W"), &found, &of_weight);
                close(&what("s"), &found_s, &of_s);
                close(&what("r"), &found_r, &of_r);
                let bits = [found, found_s, found_r].concat().into_iter().map(f64::to_bits).collect();
                assert!(*first.get_or_insert_with(|| Vec::clone(&bits)) == bits, "{}", what("other bits"));
            }
        }
    }
}
