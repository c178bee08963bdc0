//! The three sums of a convolution (forward, gradient by input, gradient by weight), each by the kernels that suit its shape.

use std::array::from_fn;
use std::borrow::Cow;

use super::correlate::{Extent, Grid, correlate};
use super::geometry::{ConvShape, Parity};
use super::pack::{Source, pack};
use super::simd::{Lanes, Level};
use super::weight_grad::{Pair, Shape, weight_grad};
use super::winograd::Winograd;
use super::{BLOCK, blocks};

/// s (M, O) and r (M, I) of some members of a BatchEnsemble's layer, whose weights are W o (s r^T).
pub(crate) type Fast<'a> = Option<(&'a [f32], &'a [f32])>;

/// One member's weights for a sum.
#[derive(Clone, Copy)]
pub(crate) struct Weights<'a> {
    /// As [`Convolution::pack_forward`] or [`Convolution::pack_transposed`] made them.
    pub packed: &'a [f32],
    /// (O, I, k, k), from which they were made.
    pub plain: &'a [f32],
    /// Of this member.
    pub fast: Fast<'a>,
}

/// The three sums of one convolution, with their taps worked out once.
pub(crate) struct Convolution {
    pub(crate) shape: ConvShape,
    forward_taps: Vec<usize>,
    parities: Vec<Parity>,
    /// How the forward sum and the gradient by weight, and the gradient by input, are computed where that is not
    /// directly.
    minimal: Option<Winograd>,
    minimal_transposed: Option<Winograd>,
}

impl Convolution {
    pub(crate) fn new(shape: ConvShape) -> Self {
        Self {
            forward_taps: shape.forward_taps(),
            parities: shape.parities(),
            minimal: shape.minimal(shape.channels_in, shape.channels_out),
            minimal_transposed: shape.minimal(shape.channels_out, shape.channels_in),
            shape,
        }
    }

    /// Whether the forward sum and the gradient by weight, or the gradient by input, are computed in Winograd's form.
    #[cfg(test)]
    pub(super) fn is_minimal(&self, transposed: bool) -> bool {
        if transposed { self.minimal_transposed.is_some() } else { self.minimal.is_some() }
    }

    /// Floats of one member's packed weights: those of the forward sum, whose order the gradient by weight has too, and
    /// those of the gradient by input.
    pub(crate) fn packed_len(&self, transposed: bool) -> usize {
        let minimal = if transposed { &self.minimal_transposed } else { &self.minimal };
        minimal.as_ref().map_or(self.shape.direct_len(), Winograd::weights_len)
    }

    /// Floats of working memory that the sums need.
    pub(crate) fn scratch_len(&self) -> usize {
        [&self.minimal, &self.minimal_transposed]
            .into_iter()
            .flatten()
            .map(Winograd::scratch_len)
            .max()
            .unwrap_or(0)
    }

    /// Packs a weight (O, I, k, k) for each member, one after the other, scaled by s (M, O) and r (M, I) where the layer is a
    /// BatchEnsemble's: W o (s r^T).
    pub(crate) fn pack_forward(&self, level: Level, weight: &[f32], fast: Fast<'_>, to: &mut [f32]) {
        let source = self.source(weight, fast, to.len() / self.packed_len(false));
        match &self.minimal {
            Some(minimal) => minimal.pack(level, source, from_fn(|k| k), to),
            None => self.pack_forward_directly(level, source, to),
        }
    }

    fn pack_forward_directly(&self, level: Level, source: Source<'_>, to: &mut [f32]) {
        let taps: Vec<usize> = (0..self.shape.kernel * self.shape.kernel).collect();
        // SAFETY: nothing but the level.
        unsafe { pack(level, source, &taps, self.shape.direct_len(), to) }
    }

    /// The same for the gradient by input: input and output change places, one part a parity.
    pub(crate) fn pack_transposed(&self, level: Level, weight: &[f32], fast: Fast<'_>, to: &mut [f32]) {
        let source = self.source(weight, fast, to.len() / self.packed_len(true));
        match &self.minimal_transposed {
            // The kernel turned by half a turn.
            Some(minimal) => minimal.pack(level, source.transposed(), from_fn(|k| 8 - k), to),
            None => self.pack_transposed_directly(level, source, to),
        }
    }

    fn pack_transposed_directly(&self, level: Level, source: Source<'_>, to: &mut [f32]) {
        let mut part = 0;
        for parity in &self.parities {
            let (len, to) = (self.shape.direct_len(), &mut to[part..]);
            // SAFETY: nothing but the level.
            unsafe { pack(level, source.transposed(), &parity.kernel, len, to) };
            part += self.parity_len(parity);
        }
    }

    fn parity_len(&self, parity: &Parity) -> usize {
        blocks(self.shape.channels_in) * blocks(self.shape.channels_out) * parity.taps.len() * BLOCK * BLOCK
    }

    fn source<'a>(&self, weight: &'a [f32], fast: Fast<'a>, members: usize) -> Source<'a> {
        let (square, inputs) = (self.shape.kernel * self.shape.kernel, self.shape.channels_in);
        let (channels, steps) = ((self.shape.channels_out, inputs), (inputs * square, square));
        Source { weight, channels, steps, members, fast }
    }

    /// outs (blocked, no border) = convolution of `inputs` (bordered), image by image. Where Winograd's form gives a value
    /// that is not finite, all of these images are done directly.
    pub(crate) fn forward(
        &self,
        level: Level,
        inputs: &[&[f32]],
        weights: Weights<'_>,
        outs: &mut [&mut [f32]],
        scratch: &mut [f32],
    ) {
        let shape = &self.shape;
        let out_len = blocks(shape.channels_out) * shape.out_height() * shape.out_width() * BLOCK;
        let packed = if let Some(minimal) = &self.minimal {
            let (from, to) = pointers(inputs, shape.bordered_in_len(), outs, out_len);
            // SAFETY: `pointers` checked the lengths.
            if unsafe { minimal.correlate(level, &from, weights.packed, &to, scratch) } {
                return;
            }
            let source = self.source(weights.plain, weights.fast, 1);
            Cow::Owned(self.repacked(|to| self.pack_forward_directly(level, source, to)))
        } else {
            Cow::Borrowed(weights.packed)
        };
        for (input, out) in inputs.iter().zip(outs) {
            self.forward_directly(level, input, &packed, out);
        }
    }

    /// Weights for the direct loops, where those at hand are for Winograd's form.
    fn repacked(&self, pack: impl FnOnce(&mut [f32])) -> Vec<f32> {
        let mut packed = vec![0.0; self.shape.direct_len()];
        pack(&mut packed);
        packed
    }

    fn forward_directly(&self, level: Level, input: &[f32], packed: &[f32], out: &mut [f32]) {
        let shape = &self.shape;
        let (rows, cols) = (shape.out_height(), shape.out_width());
        assert!(input.len() >= shape.bordered_in_len() && packed.len() >= shape.direct_len());
        assert!(out.len() >= blocks(shape.channels_out) * rows * cols * BLOCK);
        let row = shape.bordered_row();
        let grid = Grid {
            rows,
            cols,
            in_row: row * shape.stride,
            in_col: BLOCK * shape.stride,
            in_block: row * (shape.height + 2 * shape.pad()),
            out_row: cols * BLOCK,
            out_col: BLOCK,
            out_block: rows * cols * BLOCK,
        };
        let extent = Extent {
            taps: &self.forward_taps,
            channels_in: shape.channels_in,
            channels_out: shape.channels_out,
        };
        // SAFETY: the lengths were checked; taps reach at most kernel - 1 rows and columns past an origin.
        unsafe { correlate(level, input.as_ptr(), packed.as_ptr(), out.as_mut_ptr(), &extent, &grid) }
    }

    /// grads_in (blocked, no border) = transposed convolution of `grads_out` (bordered), image by image.
    pub(crate) fn grad_input(
        &self,
        level: Level,
        grads_out: &[&[f32]],
        weights: Weights<'_>,
        grads_in: &mut [&mut [f32]],
        scratch: &mut [f32],
    ) {
        let shape = &self.shape;
        let in_len = blocks(shape.channels_in) * shape.height * shape.width * BLOCK;
        let packed = if let Some(minimal) = &self.minimal_transposed {
            let (from, to) = pointers(grads_out, shape.bordered_out_len(), grads_in, in_len);
            // SAFETY: `pointers` checked the lengths.
            if unsafe { minimal.correlate(level, &from, weights.packed, &to, scratch) } {
                return;
            }
            let source = self.source(weights.plain, weights.fast, 1);
            Cow::Owned(self.repacked(|to| self.pack_transposed_directly(level, source, to)))
        } else {
            Cow::Borrowed(weights.packed)
        };
        for (grad_out, grad_in) in grads_out.iter().zip(grads_in) {
            self.grad_input_directly(level, grad_out, &packed, grad_in);
        }
    }

    fn grad_input_directly(&self, level: Level, grad_out: &[f32], packed: &[f32], grad_in: &mut [f32]) {
        let shape = &self.shape;
        let (pad, width) = (shape.pad(), shape.out_width());
        let len = blocks(shape.channels_in) * shape.height * shape.width * BLOCK;
        assert!(grad_out.len() >= shape.bordered_out_len() && packed.len() >= shape.direct_len());
        assert!(grad_in.len() >= len);
        let row = (width + 2 * pad) * BLOCK;
        let mut weights = packed;
        for parity in &self.parities {
            let (rows, cols) = (
                (shape.height - parity.row).div_ceil(shape.stride),
                (shape.width - parity.col).div_ceil(shape.stride),
            );
            let grid = Grid {
                rows,
                cols,
                in_row: row,
                in_col: BLOCK,
                in_block: row * (shape.out_height() + 2 * pad),
                out_row: shape.width * BLOCK * shape.stride,
                out_col: BLOCK * shape.stride,
                out_block: shape.height * shape.width * BLOCK,
            };
            // A parity without taps gets zeros from the empty sum.
            let extent = Extent {
                taps: &parity.taps,
                channels_in: shape.channels_out,
                channels_out: shape.channels_in,
            };
            // SAFETY: lengths checked; the parity's outputs lie on the image, its taps within the border.
            unsafe {
                let to = grad_in.as_mut_ptr().add((parity.row * shape.width + parity.col) * BLOCK);
                correlate(level, grad_out.as_ptr(), weights.as_ptr(), to, &extent, &grid);
            }
            weights = &weights[self.parity_len(parity)..];
        }
    }

    /// grad (packed order) += gradient by weight of `images` pairs of bordered inputs and bordered output gradients.
    pub(crate) fn grad_weight(
        &self,
        level: Level,
        inputs: &[f32],
        grads_out: &[f32],
        images: usize,
        grad: &mut [f32],
        scratch: &mut [f32],
    ) {
        let shape = &self.shape;
        let (in_len, out_len) = (shape.bordered_in_len(), shape.bordered_out_len());
        assert!(inputs.len() >= images * in_len && grads_out.len() >= images * out_len);
        assert!(grad.len() >= self.packed_len(false));
        let (pad, row) = (shape.pad(), shape.bordered_row());
        let grad_row = (shape.out_width() + 2 * pad) * BLOCK;
        let kernel_shape = Shape {
            taps: &self.forward_taps,
            channels_in: shape.channels_in,
            channels_out: shape.channels_out,
            rows: shape.out_height(),
            cols: shape.out_width(),
            in_row: row * shape.stride,
            in_col: BLOCK * shape.stride,
            in_block: row * (shape.height + 2 * pad),
            grad_row,
            grad_block: grad_row * (shape.out_height() + 2 * pad),
        };
        let inner = pad * (grad_row + BLOCK);
        let inputs: Vec<*const f32> = (0..images).map(|n| inputs[n * in_len..].as_ptr()).collect();
        let grads_out: Vec<*const f32> =
            (0..images).map(|n| grads_out[n * out_len + inner..].as_ptr()).collect();
        // SAFETY: lengths checked above.
        unsafe {
            if let Some(minimal) = &self.minimal {
                return minimal.weight_grad(level, &inputs, &grads_out, grad, scratch);
            }
            let pairs: Vec<Pair> =
                inputs.into_iter().zip(grads_out).map(|(input, grad_out)| Pair { input, grad_out }).collect();
            weight_grad(level, &pairs, grad.as_mut_ptr(), &kernel_shape);
        }
    }

    /// Outputs of a block: all lanes but for the last block's that have no channel.
    pub(super) fn outputs(&self, block: usize) -> usize {
        BLOCK.min(self.shape.channels_out - block * BLOCK)
    }

    /// Writes the sum of some packed gradients by weight for the outputs of `block`, the input `channel` and every tap.
    ///
    /// # Safety
    /// All of `sums` must hold the packed weights; `block` and `channel` be of the layer.
    #[inline(always)]
    pub(super) unsafe fn unpack<V: Lanes>(
        &self,
        sums: &[&[f32]],
        block: usize,
        channel: usize,
        to: &mut [[f32; BLOCK]],
    ) {
        // SAFETY: places within the packed weights; the level's, see `Lanes`.
        unsafe {
            if let Some(minimal) = &self.minimal {
                return minimal.unpack::<V>(sums, block, channel, to);
            }
            let in_blocks = blocks(self.shape.channels_in);
            let first = ((block * in_blocks + channel / BLOCK) * to.len() * BLOCK + channel % BLOCK) * BLOCK;
            for (k, to) in to.iter_mut().enumerate() {
                sum_at::<V>(sums, first + k * BLOCK * BLOCK).store(to.as_mut_ptr());
            }
        }
    }
}

/// The sum of the vectors that lie at a place in each of `parts`, in their order.
///
/// # Safety
/// There must be one.
#[inline(always)]
pub(super) unsafe fn sum_at<V: Lanes>(parts: &[&[f32]], place: usize) -> V {
    // SAFETY: the caller's.
    unsafe {
        let mut sum = V::splat(0.0);
        for part in parts {
            sum = sum.add(V::load(part.as_ptr().add(place)));
        }
        sum
    }
}

/// Where inputs and outputs lie, of which there must be as many and which must have these lengths at least.
fn pointers(
    inputs: &[&[f32]],
    in_len: usize,
    outs: &mut [&mut [f32]],
    out_len: usize,
) -> (Vec<*const f32>, Vec<*mut f32>) {
    assert!(inputs.len() == outs.len());
    assert!(inputs.iter().all(|input| input.len() >= in_len) && outs.iter().all(|out| out.len() >= out_len));
    (
        inputs.iter().map(|input| input.as_ptr()).collect(),
        outs.iter_mut().map(|out| out.as_mut_ptr()).collect(),
    )
}
