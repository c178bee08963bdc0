//! 3x3 convolution of stride 1 in Winograd's minimal form F(2x2, 3x3): 16 products where the definition takes 36.
//!
//! An output tile of 2x2 pixels reads 4x4 inputs. With Lavin and Gray's matrices (Fast Algorithms for Convolutional Neural
//! Networks, CVPR 2016) a tile of outputs is
//!
//! ```text
//! Y = A^T [ (G g G^T) . (B^T d B) ] A        g: 3x3 weights, d: 4x4 inputs, `.`: position by position
//! ```
//! summed over input channels, so that each of the 16 positions is a product of matrices, (tiles x channels in) times
//! (channels in x channels out), which the loops of [`super::correlate`] and [`super::weight_grad`] compute as a
//! convolution with one tap. The gradient by weight is the same identity read from its other end:
//!
//! ```text
//! dg = G^T [ sum over tiles of (B^T d B) . (A dY A^T) ] G
//! ```
//!
//! Rounding is relative to the largest value of a tile instead of each pixel's own neighbours, a little more than that of
//! the direct sum. What is not finite would spread over a tile: the caller does such images by the definition. A gradient
//! by weight that meets one is not finite in the taps of the same pair of channels.
//!
//! Layouts: inputs and outputs as in [`super::correlate`]; the transformed inputs of some tiles are (16 positions,
//! C / 16, tiles, 16), the transformed weights (16 positions, Cout / 16, Cin / 16, 16 in, 16 out).

mod transforms;

use super::convolution::sum_at;
use super::correlate::{Extent, Grid};
use super::pack::{Source, transform};
use super::simd::{Lanes, Level};
use super::weight_grad::{Pair, Shape, weight_grad};
use super::{BLOCK, blocks};
use transforms::{multiply, transform_grads, transform_inputs, transform_outputs};

/// Positions of a transformed tile.
const POSITIONS: usize = 16;
/// Tiles that are transformed at a time, so that they are still in cache when they are multiplied.
const TILES: usize = 16;
/// The same for the gradient by weight, whose sums are read and written once for all of them.
const GRADIENT_TILES: usize = 32;

/// Sizes of a 3x3 convolution of stride 1 with a border of one pixel, whose height and width are even.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Winograd {
    pub channels_in: usize,
    pub channels_out: usize,
    pub height: usize,
    pub width: usize,
}

/// Tiles `first` .. `first + count`, counted over all images of a call, that are transformed at the same time.
#[derive(Clone, Copy, Debug)]
struct Part {
    first: usize,
    count: usize,
}

impl Part {
    /// The parts of `tiles` tiles with at most `most` in each.
    fn of(tiles: usize, most: usize) -> impl Iterator<Item = Self> {
        (0..tiles).step_by(most).map(move |first| Self { first, count: most.min(tiles - first) })
    }

    /// Floats from one position to the next where the tiles have `blocks` channel blocks. The odd number of vectors keeps
    /// the 16 positions of a tile, which are written together, from falling into the same sets of the first-level cache.
    fn position(self, blocks: usize) -> usize {
        ((blocks * self.count) | 1) * BLOCK
    }
}

impl Winograd {
    /// Floats of the transformed weights.
    pub(crate) fn weights_len(&self) -> usize {
        POSITIONS * self.weights_position()
    }

    /// Floats of one position of the transformed weights.
    fn weights_position(&self) -> usize {
        self.blocks_in() * self.blocks_out() * BLOCK * BLOCK
    }

    /// Floats of working memory that [`Self::correlate`] and [`Self::weight_grad`] need.
    pub(crate) fn scratch_len(&self) -> usize {
        let (part, gradient) = (Part { first: 0, count: TILES }, Part { first: 0, count: GRADIENT_TILES });
        let sums = (POSITIONS + 1) * part.position(self.blocks_in().max(self.blocks_out()));
        let sides = gradient.position(self.blocks_in()) + gradient.position(self.blocks_out());
        sums.max(POSITIONS * sides)
    }

    fn blocks_in(&self) -> usize {
        blocks(self.channels_in)
    }

    fn blocks_out(&self) -> usize {
        blocks(self.channels_out)
    }

    /// Tiles of an image.
    fn tiles(&self) -> usize {
        self.height * self.width / 4
    }

    /// Image, first row and first column of the outputs of tile `index`, counted over all images of a call.
    #[inline(always)]
    fn tile(&self, index: usize) -> (usize, usize, usize) {
        let (image, tile) = (index / self.tiles(), index % self.tiles());
        (image, tile / (self.width / 2) * 2, tile % (self.width / 2) * 2)
    }

    /// Transforms each member's weights, whose nine `taps` are row-major: G g G^T of each pair of channels.
    pub(super) fn pack(&self, level: Level, source: Source<'_>, taps: [usize; 9], to: &mut [f32]) {
        // SAFETY: nothing but the level.
        unsafe { transform(level, source, &taps, self.weights_position(), self.weights_len(), to) }
    }

    /// Writes the gradients G^T u G of the nine weights between the outputs of `block` and the input `channel`, u the sum of some
    /// gradients by the transformed weights.
    ///
    /// # Safety
    /// All of `sums` must hold the transformed weights; `block` and `channel` be of the layer.
    #[inline(always)]
    pub(crate) unsafe fn unpack<V: Lanes>(
        &self,
        sums: &[&[f32]],
        block: usize,
        channel: usize,
        to: &mut [[f32; BLOCK]],
    ) {
        let (len, place) = (self.weights_position(), (block * self.blocks_in() * BLOCK + channel) * BLOCK);
        // SAFETY: places within the transformed weights.
        unsafe {
            let mut lines = [[V::splat(0.0); 4]; 3];
            for c in 0..4 {
                let at = place + c * len;
                let column = of_sums([
                    sum_at::<V>(sums, at),
                    sum_at(sums, at + 4 * len),
                    sum_at(sums, at + 8 * len),
                    sum_at(sums, at + 12 * len),
                ]);
                for (line, value) in lines.iter_mut().zip(column) {
                    line[c] = value;
                }
            }
            for (line, to) in lines.into_iter().zip(to.as_chunks_mut::<3>().0) {
                for (lanes, to) in of_sums(line).into_iter().zip(to) {
                    lanes.store(to.as_mut_ptr());
                }
            }
        }
    }

    /// Writes the outputs `outs` of the bordered `inputs`. Returns whether all of them are finite.
    ///
    /// # Safety
    /// Every input must be readable with its border, every output writable, `weights` hold the transformed weights.
    pub(crate) unsafe fn correlate(
        &self,
        level: Level,
        inputs: &[*const f32],
        weights: &[f32],
        outs: &[*mut f32],
        scratch: &mut [f32],
    ) -> bool {
        assert!(weights.len() >= self.weights_len() && scratch.len() >= self.scratch_len());
        let extent = Extent { taps: &[0], channels_in: self.channels_in, channels_out: self.channels_out };
        let mut spoilt = [0.0; BLOCK];
        for part in Part::of(inputs.len() * self.tiles(), TILES) {
            let position = part.position(self.blocks_in().max(self.blocks_out()));
            let grid = Grid {
                rows: 1,
                cols: part.count,
                in_row: position,
                in_col: BLOCK,
                in_block: part.count * BLOCK,
                out_row: position,
                out_col: BLOCK,
                out_block: part.count * BLOCK,
            };
            // SAFETY: the caller's images. The products of a position take the place of the inputs of the one before: the
            // scratch holds one position more than there are.
            unsafe {
                let products = scratch.as_mut_ptr();
                let transformed = products.add(position);
                transform_inputs(level, inputs, transformed, position, part, self);
                let weights_position = self.weights_position();
                multiply(level, transformed, weights.as_ptr(), products, weights_position, &extent, &grid);
                transform_outputs(level, products, outs, position, part, self, &mut spoilt);
            }
        }
        spoilt.iter().all(|lane| *lane == 0.0)
    }

    /// grad (transformed) += gradient by weight of the bordered `inputs` and of `grads_out`, at their first pixels inside of
    /// a border.
    ///
    /// # Safety
    /// All images must be readable with their borders, as many of one kind as of the other.
    pub(crate) unsafe fn weight_grad(
        &self,
        level: Level,
        inputs: &[*const f32],
        grads_out: &[*const f32],
        grad: &mut [f32],
        scratch: &mut [f32],
    ) {
        assert!(grad.len() >= self.weights_len() && scratch.len() >= self.scratch_len());
        for part in Part::of(inputs.len() * self.tiles(), GRADIENT_TILES) {
            let (in_position, out_position) =
                (part.position(self.blocks_in()), part.position(self.blocks_out()));
            let shape = Shape {
                taps: &[0],
                channels_in: self.channels_in,
                channels_out: self.channels_out,
                rows: 1,
                cols: part.count,
                in_row: in_position,
                in_col: BLOCK,
                in_block: part.count * BLOCK,
                grad_row: out_position,
                grad_block: part.count * BLOCK,
            };
            let (images, grads) = scratch.split_at_mut(POSITIONS * in_position);
            // SAFETY: the caller's images; the scratch holds both sides of the part.
            unsafe {
                transform_inputs(level, inputs, images.as_mut_ptr(), in_position, part, self);
                transform_grads(level, grads_out, grads.as_mut_ptr(), out_position, part, self);
                for position in 0..POSITIONS {
                    let input = images[position * in_position..].as_ptr();
                    let grad_out = grads[position * out_position..].as_ptr();
                    let to = grad[position * self.weights_position()..].as_mut_ptr();
                    weight_grad(level, &[Pair { input, grad_out }], to, &shape);
                }
            }
        }
    }
}

/// G^T u.
#[inline(always)]
unsafe fn of_sums<V: Lanes>(u: [V; 4]) -> [V; 3] {
    // SAFETY: the level's, see `Lanes`.
    unsafe {
        let half = V::splat(0.5);
        let (sum, difference) = (u[1].add(u[2]).mul(half), u[1].sub(u[2]).mul(half));
        [u[0].add(sum), difference, sum.add(u[3])]
    }
}
