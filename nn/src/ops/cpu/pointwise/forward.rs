//! Norm, ReLU, residual sums and batch moments of one image.

use super::{Affine, Coefficients, Extent, Skip, each_row, has_lanes, into_bordered};
use crate::ops::cpu::BLOCK;
use crate::ops::cpu::simd::{Lanes, simd_kernel};

simd_kernel! {
    /// to (bordered) = from.
    ///
    /// # Safety
    /// `from` and `to` must hold `extent`'s images.
    pub(crate) unsafe fn copy(from: &[f32], to: &mut [f32], extent: &Extent) = copy_lanes
}

#[inline(always)]
unsafe fn copy_lanes<V: Lanes>(from: &[f32], to: &mut [f32], extent: &Extent) {
    assert!(from.len() >= extent.len() && to.len() >= extent.bordered_len());
    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        into_bordered::<V>(to, extent, |_, at, out| {
            for x in 0..extent.width {
                V::load(from.add(at + x * BLOCK)).store(to.add(out + x * BLOCK));
            }
        });
    }
}

simd_kernel! {
    /// to (bordered) = relu(norm(from)).
    ///
    /// # Safety
    /// `from` and `to` must hold `extent`'s images, `affine` its channels.
    pub(crate) unsafe fn norm_relu(from: &[f32], affine: &Affine, to: &mut [f32], extent: &Extent) = norm_relu_lanes
}

#[inline(always)]
unsafe fn norm_relu_lanes<V: Lanes>(from: &[f32], affine: &Affine, to: &mut [f32], extent: &Extent) {
    assert!(from.len() >= extent.len() && to.len() >= extent.bordered_len() && has_lanes(affine, extent));
    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
    // SAFETY: as above; channels of block b are lanes 16 b .. 16 b + 16.
    unsafe {
        into_bordered::<V>(to, extent, |block, at, out| {
            let norm = Coefficients::<V>::of(affine, block);
            for x in 0..extent.width {
                norm.apply(V::load(from.add(at + x * BLOCK))).relu().store(to.add(out + x * BLOCK));
            }
        });
    }
}

simd_kernel! {
    /// out = relu(norm(z) + skip): the end of a post-activation block.
    ///
    /// # Safety
    /// The slices must hold `extent`'s images.
    pub(crate) unsafe fn join(z: &[f32], affine: &Affine, skip: Skip<'_>, out: &mut [f32], extent: &Extent) = join_lanes
}

#[inline(always)]
unsafe fn join_lanes<V: Lanes>(z: &[f32], affine: &Affine, skip: Skip<'_>, out: &mut [f32], extent: &Extent) {
    assert!(z.len() >= extent.len() && out.len() >= extent.len() && has_lanes(affine, extent));
    let (z, out) = (z.as_ptr(), out.as_mut_ptr());
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        each_row(extent, |block, y, at| {
            let norm = Coefficients::<V>::of(affine, block);
            skip_row::<V>(skip, block, y, at, extent.width, |at, skipped| {
                let value = norm.apply(V::load(z.add(at)));
                skipped.map_or(value, |s| value.add(s)).relu().store(out.add(at));
            });
        });
    }
}

simd_kernel! {
    /// out += skip: the end of a pre-activation block.
    ///
    /// # Safety
    /// The slices must hold `extent`'s images.
    pub(crate) unsafe fn add_skip(skip: Skip<'_>, out: &mut [f32], extent: &Extent) = add_skip_lanes
}

#[inline(always)]
unsafe fn add_skip_lanes<V: Lanes>(skip: Skip<'_>, out: &mut [f32], extent: &Extent) {
    assert!(out.len() >= extent.len());
    let out = out.as_mut_ptr();
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        each_row(extent, |block, y, at| {
            skip_row::<V>(skip, block, y, at, extent.width, |at, skipped| {
                if let Some(skipped) = skipped {
                    V::load(out.add(at)).add(skipped).store(out.add(at));
                }
            });
        });
    }
}

/// Calls `pixel(offset, what the skip adds there)` along one row.
#[inline(always)]
unsafe fn skip_row<V: Lanes>(
    skip: Skip<'_>,
    block: usize,
    y: usize,
    at: usize,
    width: usize,
    mut pixel: impl FnMut(usize, Option<V>),
) {
    // SAFETY: the caller's slices hold the extent that the row lies in.
    unsafe {
        match skip {
            Skip::Image { values, blocks, stride, height, width: from_width } if block < blocks => {
                let from = values.as_ptr().add((block * height + y * stride) * from_width * BLOCK);
                for x in 0..width {
                    pixel(at + x * BLOCK, Some(V::load(from.add(x * stride * BLOCK))));
                }
            }
            Skip::Normed { values, affine } => {
                let norm = Coefficients::<V>::of(affine, block);
                for x in 0..width {
                    let at = at + x * BLOCK;
                    pixel(at, Some(norm.apply(V::load(values.as_ptr().add(at)))));
                }
            }
            Skip::None | Skip::Image { .. } => {
                for x in 0..width {
                    pixel(at + x * BLOCK, None);
                }
            }
        }
    }
}

simd_kernel! {
    /// Per channel: sum over pixels, and sum of squared distances from the image's own mean.
    ///
    /// # Safety
    /// `z` must hold `extent`'s image, `sum` and `square` its channels.
    pub(crate) unsafe fn moments(z: &[f32], sum: &mut [f32], square: &mut [f32], extent: &Extent) = moments_lanes
}

#[inline(always)]
unsafe fn moments_lanes<V: Lanes>(z: &[f32], sum: &mut [f32], square: &mut [f32], extent: &Extent) {
    assert!(z.len() >= extent.len());
    assert!(sum.len() >= extent.blocks * BLOCK && square.len() >= extent.blocks * BLOCK);
    let (rows, cols) = (extent.height, extent.width);
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        for block in 0..extent.blocks {
            let image = z.as_ptr().add(block * rows * cols * BLOCK);
            let total = over_rows::<V>(rows, cols, |at| V::load(image.add(at)));
            let mean = total.mul(V::splat(1.0 / (rows * cols) as f32));
            let squares = over_rows::<V>(rows, cols, |at| {
                let d = V::load(image.add(at)).sub(mean);
                d.mul(d)
            });
            total.store(sum.as_mut_ptr().add(block * BLOCK));
            squares.store(square.as_mut_ptr().add(block * BLOCK));
        }
    }
}

/// Sum over the pixels of one block, four partial sums a row, so that rounding grows with the rows and not the pixels.
#[inline(always)]
unsafe fn over_rows<V: Lanes>(rows: usize, cols: usize, mut value: impl FnMut(usize) -> V) -> V {
    // SAFETY: only arithmetic; `value` gets offsets of pixels.
    unsafe {
        let mut total = V::splat(0.0);
        for y in 0..rows {
            let mut partial = [V::splat(0.0); 4];
            let mut x = 0;
            while x + 4 <= cols {
                for (p, sum) in partial.iter_mut().enumerate() {
                    *sum = sum.add(value((y * cols + x + p) * BLOCK));
                }
                x += 4;
            }
            while x < cols {
                partial[0] = partial[0].add(value((y * cols + x) * BLOCK));
                x += 1;
            }
            total = total.add(partial[0].add(partial[1]).add(partial[2].add(partial[3])));
        }
        total
    }
}
