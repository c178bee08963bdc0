//! A convolution's shape, and how its three sums (forward, gradient by input, gradient by weight) map onto the kernels:
//! which taps, which grid, which order of the packed weights.

use super::correlate::{Extent, Grid, correlate};
use super::simd::Level;
use super::weight_grad::{Pair, Shape, weight_grad};
use super::{BLOCK, blocks};

/// A square convolution with "same" padding: kernel / 2 zeros on each side, no dilation, no groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConvShape {
    pub channels_in: usize,
    pub channels_out: usize,
    /// Odd.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    pub height: usize,
    pub width: usize,
}

/// One parity of the transposed convolution: outputs (stride * i + row, stride * j + col).
struct Parity {
    row: usize,
    col: usize,
    taps: Vec<usize>,
    /// Index of each tap in the kernel, row-major.
    kernel: Vec<usize>,
}

impl ConvShape {
    pub(crate) fn pad(&self) -> usize {
        self.kernel / 2
    }

    pub(crate) fn out_height(&self) -> usize {
        (self.height - 1) / self.stride + 1
    }

    pub(crate) fn out_width(&self) -> usize {
        (self.width - 1) / self.stride + 1
    }

    /// Floats of the packed weights of one member: the forward and the transposed order take the same.
    pub(crate) fn packed_len(&self) -> usize {
        blocks(self.channels_in) * blocks(self.channels_out) * self.kernel * self.kernel * BLOCK * BLOCK
    }

    /// Floats of a bordered input image.
    pub(crate) fn bordered_in_len(&self) -> usize {
        blocks(self.channels_in) * (self.height + 2 * self.pad()) * (self.width + 2 * self.pad()) * BLOCK
    }

    /// Floats of a bordered output gradient.
    pub(crate) fn bordered_out_len(&self) -> usize {
        blocks(self.channels_out)
            * (self.out_height() + 2 * self.pad())
            * (self.out_width() + 2 * self.pad())
            * BLOCK
    }

    /// Multiply-adds of the forward pass of one image.
    pub(crate) fn multiply_adds(&self) -> u64 {
        (self.channels_in * self.channels_out * self.kernel * self.kernel) as u64
            * (self.out_height() * self.out_width()) as u64
    }

    fn bordered_row(&self) -> usize {
        (self.width + 2 * self.pad()) * BLOCK
    }

    fn forward_taps(&self) -> Vec<usize> {
        (0..self.kernel * self.kernel)
            .map(|t| (t / self.kernel) * self.bordered_row() + (t % self.kernel) * BLOCK)
            .collect()
    }

    /// With y = stride * i + row, tap k reads output gradient row i + (row + pad - k) / stride, where that is whole.
    fn parities(&self) -> Vec<Parity> {
        let (stride, pad) = (self.stride, self.pad());
        let row_len = (self.out_width() + 2 * pad) * BLOCK;
        let steps = |parity: usize| -> Vec<(usize, usize)> {
            (0..self.kernel)
                .filter(|k| (parity + pad + stride * self.kernel - k).is_multiple_of(stride))
                // Rows of the bordered gradient start `pad` rows early, so this never goes below zero.
                .map(|k| (k, (parity + pad + stride * pad - k) / stride))
                .collect()
        };
        let mut parities = Vec::new();
        for row in 0..stride.min(self.height) {
            for col in 0..stride.min(self.width) {
                let mut parity = Parity { row, col, taps: Vec::new(), kernel: Vec::new() };
                for (ky, dy) in steps(row) {
                    for (kx, dx) in steps(col) {
                        parity.taps.push(dy * row_len + dx * BLOCK);
                        parity.kernel.push(ky * self.kernel + kx);
                    }
                }
                parities.push(parity);
            }
        }
        parities
    }
}

/// The three sums of one convolution, with their taps worked out once.
pub(crate) struct Convolution {
    pub(crate) shape: ConvShape,
    forward_taps: Vec<usize>,
    parities: Vec<Parity>,
}

impl Convolution {
    pub(crate) fn new(shape: ConvShape) -> Self {
        Self { forward_taps: shape.forward_taps(), parities: shape.parities(), shape }
    }

    /// Packs a weight (O, I, k, k), scaled by s (O) and r (I) where the layer is a BatchEnsemble's: W o (s r^T).
    pub(crate) fn pack_forward(&self, weight: &[f32], fast: Option<(&[f32], &[f32])>, to: &mut [f32]) {
        let taps: Vec<usize> = (0..self.shape.kernel * self.shape.kernel).collect();
        let at = |o: usize, i: usize, k: usize| self.weight_at(weight, fast, o, i, k);
        pack(to, self.shape.channels_out, self.shape.channels_in, &taps, at);
    }

    /// The same for the gradient by input: input and output change places, one part a parity.
    pub(crate) fn pack_transposed(&self, weight: &[f32], fast: Option<(&[f32], &[f32])>, to: &mut [f32]) {
        let at = |i: usize, o: usize, k: usize| self.weight_at(weight, fast, o, i, k);
        let mut rest = to;
        for parity in &self.parities {
            let (part, tail) = rest.split_at_mut(self.parity_len(parity));
            pack(part, self.shape.channels_in, self.shape.channels_out, &parity.kernel, at);
            rest = tail;
        }
    }

    fn parity_len(&self, parity: &Parity) -> usize {
        blocks(self.shape.channels_in) * blocks(self.shape.channels_out) * parity.taps.len() * BLOCK * BLOCK
    }

    #[inline(always)]
    fn weight_at(&self, weight: &[f32], fast: Option<(&[f32], &[f32])>, o: usize, i: usize, k: usize) -> f32 {
        let square = self.shape.kernel * self.shape.kernel;
        let value = weight[(o * self.shape.channels_in + i) * square + k];
        fast.map_or(value, |(s, r)| value * (s[o] * r[i]))
    }

    /// out (blocked, no border) = convolution of `input` (bordered).
    pub(crate) fn forward(&self, level: Level, input: &[f32], packed: &[f32], out: &mut [f32]) {
        let shape = &self.shape;
        let (rows, cols) = (shape.out_height(), shape.out_width());
        assert!(input.len() >= shape.bordered_in_len() && packed.len() >= shape.packed_len());
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

    /// grad_in (blocked, no border) = transposed convolution of `grad_out` (bordered).
    pub(crate) fn grad_input(&self, level: Level, grad_out: &[f32], packed: &[f32], grad_in: &mut [f32]) {
        let shape = &self.shape;
        let (pad, width) = (shape.pad(), shape.out_width());
        let len = blocks(shape.channels_in) * shape.height * shape.width * BLOCK;
        assert!(grad_out.len() >= shape.bordered_out_len() && packed.len() >= shape.packed_len());
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
    ) {
        let shape = &self.shape;
        let (in_len, out_len) = (shape.bordered_in_len(), shape.bordered_out_len());
        assert!(inputs.len() >= images * in_len && grads_out.len() >= images * out_len);
        assert!(grad.len() >= shape.packed_len());
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
        let pairs: Vec<Pair> = (0..images)
            .map(|n| Pair {
                input: inputs[n * in_len..].as_ptr(),
                grad_out: grads_out[n * out_len + pad * (grad_row + BLOCK)..].as_ptr(),
            })
            .collect();
        // SAFETY: lengths checked above; one pair an image.
        unsafe { weight_grad(level, &pairs, grad.as_mut_ptr(), &kernel_shape) }
    }

    /// Adds what a packed gradient says of (o, i, k) by calling `visit(o, i, k, value)` for every weight.
    #[inline(always)]
    pub(crate) fn unpack(&self, packed: &[f32], mut visit: impl FnMut(usize, usize, usize, f32)) {
        let square = self.shape.kernel * self.shape.kernel;
        let in_blocks = blocks(self.shape.channels_in);
        for o in 0..self.shape.channels_out {
            for i in 0..self.shape.channels_in {
                let base =
                    ((o / BLOCK * in_blocks + i / BLOCK) * square * BLOCK + i % BLOCK) * BLOCK + o % BLOCK;
                for k in 0..square {
                    visit(o, i, k, packed[base + k * BLOCK * BLOCK]);
                }
            }
        }
    }
}

/// (out block, in block, tap, 16 in, 16 out), zeros where a block has no channel.
#[inline(always)]
fn pack(
    to: &mut [f32],
    channels_out: usize,
    channels_in: usize,
    taps: &[usize],
    at: impl Fn(usize, usize, usize) -> f32,
) {
    let mut lanes = to.as_chunks_mut::<BLOCK>().0.iter_mut();
    for out_block in 0..blocks(channels_out) {
        for in_block in 0..blocks(channels_in) {
            for &tap in taps {
                for i in in_block * BLOCK..(in_block + 1) * BLOCK {
                    let Some(lane) = lanes.next() else { return };
                    *lane = [0.0; BLOCK];
                    if i < channels_in {
                        for (l, value) in lane.iter_mut().enumerate() {
                            let o = out_block * BLOCK + l;
                            if o < channels_out {
                                *value = at(o, i, tap);
                            }
                        }
                    }
                }
            }
        }
    }
}
