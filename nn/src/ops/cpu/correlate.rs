//! Direct convolution of one image: the register-blocked inner loop behind the forward pass and the gradient by input.
//!
//! ```text
//! out[o, y, x] = sum over taps t and input channels i of  in[i, origin(y, x) + t] * w[o, t, i]
//! ```
//! A convolution, its transpose and each parity of a strided transpose are this same sum with other [`Tap`]s, grid and
//! packed weights; see [`super::geometry`].
//!
//! Layouts: feature maps are channel-blocked, (C / 16, H, W, 16); the input carries its zero border already, so the
//! loop has no branch. Packed weights are (Cout / 16, Cin / 16, taps, 16 input channels, 16 output channels). A tile is
//! PX pixels by NV output vectors of accumulators that stay in registers for the whole sum, as many as the instruction set
//! has room for; an input value is broadcast against NV weight vectors, a weight vector is used for PX pixels.

use super::simd::{Lanes, simd_kernel};
use super::{BLOCK, blocks};

/// One tap of the kernel: how far from a pixel's origin its input lies, in floats.
pub(crate) type Tap = usize;

/// The output pixels of one call and where their inputs and outputs lie, in floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    /// Output rows and columns.
    pub rows: usize,
    pub cols: usize,
    /// Distance of the inputs of two neighbouring output rows.
    pub in_row: usize,
    /// Distance of the inputs of two neighbouring output columns: 16 or 32.
    pub in_col: usize,
    /// Distance of two channel blocks of the input.
    pub in_block: usize,
    /// The same three for the output.
    pub out_row: usize,
    pub out_col: usize,
    pub out_block: usize,
}

/// Channels and taps of the sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent<'a> {
    pub taps: &'a [Tap],
    pub channels_in: usize,
    pub channels_out: usize,
}

simd_kernel! {
    /// Writes the sum for every pixel of `grid`.
    ///
    /// # Safety
    /// `input` must be readable at every origin + tap, `weights` hold `extent`'s packed weights, `out` be writable at
    /// every output pixel, sixteen floats each.
    pub(crate) unsafe fn correlate(
        input: *const f32, weights: *const f32, out: *mut f32, extent: &Extent<'_>, grid: &Grid,
    ) = correlate_lanes
}

#[inline(always)]
unsafe fn correlate_lanes<V: Lanes>(
    input: *const f32,
    weights: *const f32,
    out: *mut f32,
    extent: &Extent<'_>,
    grid: &Grid,
) {
    // SAFETY: forwarded.
    unsafe {
        if grid.in_col == BLOCK {
            by_vectors::<V, 1>(input, weights, out, extent, grid);
        } else {
            by_vectors::<V, 2>(input, weights, out, extent, grid);
        }
    }
}

/// Covers the output channels with tiles that suit the registers.
#[inline(always)]
pub(super) unsafe fn by_vectors<V: Lanes, const STRIDE: usize>(
    input: *const f32,
    weights: *const f32,
    out: *mut f32,
    extent: &Extent<'_>,
    grid: &Grid,
) {
    // SAFETY: forwarded.
    unsafe {
        if V::SUMS >= 16 {
            by_pairs::<V, STRIDE>(input, weights, out, extent, grid);
        } else if V::SUMS >= 6 {
            one_by_one::<V, STRIDE, 6, 4>(input, weights, out, extent, grid);
        } else {
            one_by_one::<V, STRIDE, 3, 2>(input, weights, out, extent, grid);
        }
    }
}

/// One vector of output channels at a time, by `Q` pixels and, where a row ends better so, some by `FEW`: 16 are 6 and 6 and 4.
#[inline(always)]
unsafe fn one_by_one<V: Lanes, const STRIDE: usize, const Q: usize, const FEW: usize>(
    input: *const f32,
    weights: *const f32,
    out: *mut f32,
    extent: &Extent<'_>,
    grid: &Grid,
) {
    let vector_weights = blocks(extent.channels_in) * extent.taps.len() * BLOCK * BLOCK;
    // Each tile of `FEW` in the place of one of `Q` ends the row so many pixels earlier.
    let by_few = (Q - grid.cols % Q) % Q / (Q - FEW) * FEW;
    let by_q = match grid.cols.checked_sub(by_few) {
        Some(cols) if cols == 0 || cols >= Q => cols,
        _ => 0,
    };
    let (wide, narrow) = (Grid { cols: by_q, ..*grid }, Grid { cols: grid.cols - by_q, ..*grid });
    for v in 0..blocks(extent.channels_out) {
        // SAFETY: as in `by_pairs`; the two grids are next to each other.
        unsafe {
            let (w, o) = (weights.add(v * vector_weights), out.add(v * grid.out_block));
            tiles::<V, STRIDE, 1, Q, 1>(input, w, o, extent, &wide);
            if narrow.cols == 0 {
                // Past its last column a row may end outside of the memory.
                continue;
            }
            let (input, o) = (input.add(by_q * grid.in_col), o.add(by_q * grid.out_col));
            if narrow.cols >= FEW {
                tiles::<V, STRIDE, 1, FEW, 1>(input, w, o, extent, &narrow);
            } else {
                tiles::<V, STRIDE, 1, 1, 1>(input, w, o, extent, &narrow);
            }
        }
    }
}

/// Splits the output channels into pairs of vectors and, where their number is odd, one single.
#[inline(always)]
unsafe fn by_pairs<V: Lanes, const STRIDE: usize>(
    input: *const f32,
    weights: *const f32,
    out: *mut f32,
    extent: &Extent<'_>,
    grid: &Grid,
) {
    let vectors = blocks(extent.channels_out);
    let vector_weights = blocks(extent.channels_in) * extent.taps.len() * BLOCK * BLOCK;
    let mut v = 0;
    // SAFETY: each call covers output vectors v .. v + NV, within the caller's buffers.
    unsafe {
        while v < vectors {
            let w = weights.add(v * vector_weights);
            let o = out.add(v * grid.out_block);
            if v + 2 <= vectors {
                if grid.cols >= 8 {
                    tiles::<V, STRIDE, 1, 8, 2>(input, w, o, extent, grid);
                } else if grid.cols >= 4 && grid.rows >= 2 {
                    tiles::<V, STRIDE, 2, 4, 2>(input, w, o, extent, grid);
                } else if grid.cols >= 4 {
                    tiles::<V, STRIDE, 1, 4, 2>(input, w, o, extent, grid);
                } else if grid.cols >= 2 && grid.rows >= 2 {
                    tiles::<V, STRIDE, 2, 2, 2>(input, w, o, extent, grid);
                } else {
                    tiles::<V, STRIDE, 1, 1, 2>(input, w, o, extent, grid);
                }
                v += 2;
            } else {
                if grid.cols >= 16 {
                    tiles::<V, STRIDE, 1, 16, 1>(input, w, o, extent, grid);
                } else if grid.cols >= 8 && grid.rows >= 2 {
                    tiles::<V, STRIDE, 2, 8, 1>(input, w, o, extent, grid);
                } else if grid.cols >= 8 {
                    tiles::<V, STRIDE, 1, 8, 1>(input, w, o, extent, grid);
                } else if grid.cols >= 4 && grid.rows >= 4 {
                    tiles::<V, STRIDE, 4, 4, 1>(input, w, o, extent, grid);
                } else if grid.cols >= 4 {
                    tiles::<V, STRIDE, 1, 4, 1>(input, w, o, extent, grid);
                } else if grid.cols >= 2 && grid.rows >= 2 {
                    tiles::<V, STRIDE, 2, 2, 1>(input, w, o, extent, grid);
                } else {
                    tiles::<V, STRIDE, 1, 1, 1>(input, w, o, extent, grid);
                }
                v += 1;
            }
        }
    }
}

/// Covers the grid with R x Q tiles. The last tile of a row or column is moved back to end at the edge: the pixels it
/// shares with its neighbour are written twice with the same value.
#[inline(always)]
unsafe fn tiles<V: Lanes, const STRIDE: usize, const R: usize, const Q: usize, const NV: usize>(
    input: *const f32,
    weights: *const f32,
    out: *mut f32,
    extent: &Extent<'_>,
    grid: &Grid,
) {
    let mut y = 0;
    while y < grid.rows {
        let row = y.min(grid.rows - R);
        let mut x = 0;
        while x < grid.cols {
            let col = x.min(grid.cols - Q);
            // SAFETY: (row, col) .. (row + R, col + Q) lies on the grid.
            unsafe {
                tile::<V, STRIDE, R, Q, NV>(
                    input.add(row * grid.in_row + col * STRIDE * BLOCK),
                    weights,
                    out.add(row * grid.out_row + col * grid.out_col),
                    extent,
                    grid,
                );
            }
            x += Q;
        }
        y += R;
    }
}

#[inline(always)]
unsafe fn tile<V: Lanes, const STRIDE: usize, const R: usize, const Q: usize, const NV: usize>(
    input: *const f32,
    weights: *const f32,
    out: *mut f32,
    extent: &Extent<'_>,
    grid: &Grid,
) {
    // SAFETY: the caller's; every offset below is one of its taps, channels and tile pixels.
    unsafe {
        let mut acc = [[[V::splat(0.0); NV]; Q]; R];
        let in_blocks = blocks(extent.channels_in);
        let vector_weights = in_blocks * extent.taps.len() * BLOCK * BLOCK;
        let mut w = weights;
        for block in 0..in_blocks {
            let channels = BLOCK.min(extent.channels_in - block * BLOCK);
            let plane = input.add(block * grid.in_block);
            for &tap in extent.taps {
                let base = plane.add(tap);
                if channels == BLOCK {
                    for step in 0..4 {
                        multiply::<V, STRIDE, R, Q, NV, 4>(
                            &mut acc,
                            base.add(step * 4),
                            w.add(step * 4 * BLOCK),
                            vector_weights,
                            grid.in_row,
                        );
                    }
                } else {
                    for channel in 0..channels {
                        multiply::<V, STRIDE, R, Q, NV, 1>(
                            &mut acc,
                            base.add(channel),
                            w.add(channel * BLOCK),
                            vector_weights,
                            grid.in_row,
                        );
                    }
                }
                w = w.add(BLOCK * BLOCK);
            }
        }
        for (r, row) in acc.iter().enumerate() {
            for (q, pixel) in row.iter().enumerate() {
                for (v, vector) in pixel.iter().enumerate() {
                    vector.store(out.add(r * grid.out_row + q * grid.out_col + v * grid.out_block));
                }
            }
        }
    }
}

/// acc += CI input channels of every pixel of the tile times their weights.
#[inline(always)]
unsafe fn multiply<
    V: Lanes,
    const STRIDE: usize,
    const R: usize,
    const Q: usize,
    const NV: usize,
    const CI: usize,
>(
    acc: &mut [[[V; NV]; Q]; R],
    input: *const f32,
    weights: *const f32,
    vector_weights: usize,
    in_row: usize,
) {
    // SAFETY: as in `tile`.
    unsafe {
        for ci in 0..CI {
            let mut w = [V::splat(0.0); NV];
            for (v, vector) in w.iter_mut().enumerate() {
                *vector = V::load(weights.add(v * vector_weights + ci * BLOCK));
            }
            for (r, row) in acc.iter_mut().enumerate() {
                for (q, pixel) in row.iter_mut().enumerate() {
                    let x = V::splat(*input.add(r * in_row + q * STRIDE * BLOCK + ci));
                    for (sum, weight) in pixel.iter_mut().zip(&w) {
                        *sum = sum.fma(x, *weight);
                    }
                }
            }
        }
    }
}
