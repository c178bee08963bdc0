//! Gradient of a convolution by its weights, for one or several images at a time.
//!
//! ```text
//! grad[o, t, i] += sum over images and output pixels (y, x) of  in[i, origin(y, x) + t] * grad_out[o, y, x]
//! ```
//! Layouts as in [`super::correlate`]; the gradient has the layout of the packed weights. A tile is CI input channels
//! by NV output vectors for one tap; its accumulators stay in registers over all pixels of a stripe of rows, chosen so
//! that the stripe's input and output gradient stay in the first-level cache while taps and channels go by. Small
//! images are taken several at a time for the same reason: the gradient is read and written once for all of them.

use super::simd::{Lanes, simd_kernel};
use super::{BLOCK, blocks};

/// One image's operands: the bordered input and the gradient of its output, at the output's first pixel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub input: *const f32,
    pub grad_out: *const f32,
}

/// Shapes and distances (in floats) of the sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape<'a> {
    pub taps: &'a [usize],
    pub channels_in: usize,
    pub channels_out: usize,
    /// Output rows and columns.
    pub rows: usize,
    pub cols: usize,
    pub in_row: usize,
    /// 16 or 32.
    pub in_col: usize,
    pub in_block: usize,
    pub grad_row: usize,
    pub grad_block: usize,
}

simd_kernel! {
    /// Adds the gradient of `images` onto `grad`.
    ///
    /// # Safety
    /// Every pointer of `images` must be readable over `shape`, `grad` writable over the packed weights.
    pub(crate) unsafe fn weight_grad(images: &[Pair], grad: *mut f32, shape: &Shape<'_>) = weight_grad_lanes
}

#[inline(always)]
unsafe fn weight_grad_lanes<V: Lanes>(images: &[Pair], grad: *mut f32, shape: &Shape<'_>) {
    // SAFETY: forwarded.
    unsafe {
        if shape.in_col == BLOCK {
            by_stripes::<V, 1>(images, grad, shape);
        } else {
            by_stripes::<V, 2>(images, grad, shape);
        }
    }
}

/// Bytes of input and output gradient that a stripe may hold: two thirds of a 48 KiB first-level cache.
const STRIPE_BYTES: usize = 32 * 1024;

#[inline(always)]
unsafe fn by_stripes<V: Lanes, const STRIDE: usize>(images: &[Pair], grad: *mut f32, shape: &Shape<'_>) {
    let vectors = blocks(shape.channels_out);
    let in_blocks = blocks(shape.channels_in);
    let row_bytes = 4 * (shape.in_row * STRIDE + 2 * shape.grad_row);
    let stripe = (STRIPE_BYTES / (row_bytes * images.len()).max(1)).clamp(1, shape.rows);
    let mut first = 0;
    while first < shape.rows {
        let rows = stripe.min(shape.rows - first);
        for block in 0..in_blocks {
            let channels = BLOCK.min(shape.channels_in - block * BLOCK);
            let mut v = 0;
            while v < vectors {
                // SAFETY: the tile's channels, vectors, rows and taps lie within `shape`.
                unsafe {
                    if V::SUMS < 6 {
                        taps::<V, STRIDE, 1, 4>(images, grad, shape, (first, rows), block, channels, v);
                        v += 1;
                    } else if V::SUMS < 16 {
                        taps::<V, STRIDE, 1, 6>(images, grad, shape, (first, rows), block, channels, v);
                        v += 1;
                    } else if v + 2 <= vectors {
                        taps::<V, STRIDE, 2, 8>(images, grad, shape, (first, rows), block, channels, v);
                        v += 2;
                    } else {
                        taps::<V, STRIDE, 1, 16>(images, grad, shape, (first, rows), block, channels, v);
                        v += 1;
                    }
                }
            }
        }
        first += rows;
    }
}

#[inline(always)]
unsafe fn taps<V: Lanes, const STRIDE: usize, const NV: usize, const CI: usize>(
    images: &[Pair],
    grad: *mut f32,
    shape: &Shape<'_>,
    rows: (usize, usize),
    block: usize,
    channels: usize,
    vector: usize,
) {
    let per_block = shape.taps.len() * BLOCK * BLOCK;
    let per_vector = blocks(shape.channels_in) * per_block;
    for (t, &tap) in shape.taps.iter().enumerate() {
        // SAFETY: as in `by_stripes`.
        unsafe {
            let to = grad.add(vector * per_vector + block * per_block + t * BLOCK * BLOCK);
            let offset = block * shape.in_block + tap;
            let mut channel = 0;
            while channel + CI <= channels {
                let to = to.add(channel * BLOCK);
                tile::<V, STRIDE, NV, CI>(images, to, per_vector, shape, rows, offset + channel, vector);
                channel += CI;
            }
            // Of a block of 16, after 6 and 6.
            if CI == 6 && channels - channel == 4 {
                let to = to.add(channel * BLOCK);
                tile::<V, STRIDE, NV, 4>(images, to, per_vector, shape, rows, offset + channel, vector);
                channel += 4;
            }
            // The colours of an image.
            if channels - channel == 3 && V::SUMS >= 6 {
                let to = to.add(channel * BLOCK);
                tile::<V, STRIDE, NV, 3>(images, to, per_vector, shape, rows, offset + channel, vector);
                channel += 3;
            }
            while channel < channels {
                let to = to.add(channel * BLOCK);
                tile::<V, STRIDE, NV, 1>(images, to, per_vector, shape, rows, offset + channel, vector);
                channel += 1;
            }
        }
    }
}

#[inline(always)]
unsafe fn tile<V: Lanes, const STRIDE: usize, const NV: usize, const CI: usize>(
    images: &[Pair],
    to: *mut f32,
    per_vector: usize,
    shape: &Shape<'_>,
    (first, rows): (usize, usize),
    offset: usize,
    vector: usize,
) {
    // SAFETY: as in `by_stripes`.
    unsafe {
        let mut acc = [[V::splat(0.0); NV]; CI];
        for image in images {
            for y in first..first + rows {
                let mut x = image.input.add(y * shape.in_row + offset);
                let mut g = image.grad_out.add(y * shape.grad_row + vector * shape.grad_block);
                for _ in 0..shape.cols {
                    let mut grads = [V::splat(0.0); NV];
                    for (v, value) in grads.iter_mut().enumerate() {
                        *value = V::load(g.add(v * shape.grad_block));
                    }
                    for (ci, sums) in acc.iter_mut().enumerate() {
                        let value = V::splat(*x.add(ci));
                        for (sum, grad) in sums.iter_mut().zip(&grads) {
                            *sum = sum.fma(value, *grad);
                        }
                    }
                    x = x.add(STRIDE * BLOCK);
                    g = g.add(BLOCK);
                }
            }
        }
        for (ci, sums) in acc.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                let at = to.add(v * per_vector + ci * BLOCK);
                V::load(at).add(*sum).store(at);
            }
        }
    }
}
