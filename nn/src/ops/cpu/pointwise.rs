//! Per-pixel operators on one blocked image: batch norm forward and backward with ReLU and residual sum, the sums that
//! batch statistics need, and the copies into bordered images that convolutions read.
//!
//! Normalisation is written (z - mean) * scale + shift with scale = gamma / sqrt(var + eps) and shift = beta; its
//! gradient by z is scale * (g - offset - (z - mean) * slope), where offset = mean of g and slope = mean of
//! g * (z - mean) over the variance, both zero where the statistics are constants (eval mode).

use super::BLOCK;
use super::simd::{Lanes, simd_kernel};

/// Coefficients of a normalisation, one value a lane of the blocked channels.
#[derive(Clone, Debug, Default)]
pub(crate) struct Affine {
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
    pub shift: Vec<f32>,
}

/// Coefficients of its gradient.
#[derive(Clone, Debug, Default)]
pub(crate) struct GradAffine {
    pub mean: Vec<f32>,
    pub scale: Vec<f32>,
    pub offset: Vec<f32>,
    pub slope: Vec<f32>,
}

/// A blocked image's extent, and the zero border of the copy that a kernel writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    pub blocks: usize,
    pub height: usize,
    pub width: usize,
    pub border: usize,
}

impl Extent {
    pub(crate) fn len(&self) -> usize {
        self.blocks * self.height * self.width * BLOCK
    }

    pub(crate) fn bordered_len(&self) -> usize {
        self.blocks * (self.height + 2 * self.border) * (self.width + 2 * self.border) * BLOCK
    }
}

/// What a residual sum adds to an image of the same or twice the extent.
#[derive(Clone, Copy)]
pub(crate) enum Skip<'a> {
    None,
    /// The image itself where the stride is 1; every second pixel, with zeros for the channels it lacks, otherwise.
    Image { values: &'a [f32], blocks: usize, stride: usize, height: usize, width: usize },
    /// A normalised image of the same extent.
    Normed { values: &'a [f32], affine: &'a Affine },
}

/// Calls `pixel(block, source offset, destination offset)` for every pixel and zeroes the destination's border.
#[inline(always)]
unsafe fn into_bordered<V: Lanes>(to: *mut f32, extent: &Extent, mut pixel: impl FnMut(usize, usize, usize)) {
    let border = extent.border;
    let width = extent.width + 2 * border;
    let plane = (extent.height + 2 * border) * width;
    // SAFETY: every offset lies within the bordered image.
    unsafe {
        let zero = V::splat(0.0);
        for block in 0..extent.blocks {
            let base = block * plane;
            for edge in 0..border * width {
                zero.store(to.add((base + edge) * BLOCK));
                zero.store(to.add((base + plane - 1 - edge) * BLOCK));
            }
            for y in 0..extent.height {
                let row = base + (y + border) * width;
                for edge in 0..border {
                    zero.store(to.add((row + edge) * BLOCK));
                    zero.store(to.add((row + width - 1 - edge) * BLOCK));
                }
                let from = (block * extent.height + y) * extent.width;
                for x in 0..extent.width {
                    pixel(block, (from + x) * BLOCK, (row + border + x) * BLOCK);
                }
            }
        }
    }
}

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
    unsafe { into_bordered::<V>(to, extent, |_, at, out| V::load(from.add(at)).store(to.add(out))) }
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
    assert!(from.len() >= extent.len() && to.len() >= extent.bordered_len());
    assert!(affine.shift.len() >= extent.blocks * BLOCK);
    let (from, to) = (from.as_ptr(), to.as_mut_ptr());
    // SAFETY: as above; channels of block b are lanes 16 b .. 16 b + 16.
    unsafe {
        into_bordered::<V>(to, extent, |block, at, out| {
            normalize::<V>(V::load(from.add(at)), affine, block).relu().store(to.add(out));
        })
    }
}

#[inline(always)]
unsafe fn normalize<V: Lanes>(z: V, affine: &Affine, block: usize) -> V {
    // SAFETY: the caller checked that `affine` has the block's lanes.
    unsafe {
        let at = block * BLOCK;
        V::load(affine.shift.as_ptr().add(at))
            .fma(z.sub(V::load(affine.mean.as_ptr().add(at))), V::load(affine.scale.as_ptr().add(at)))
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
    assert!(z.len() >= extent.len() && out.len() >= extent.len());
    assert!(affine.shift.len() >= extent.blocks * BLOCK);
    let out = out.as_mut_ptr();
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        each_pixel(extent, |block, y, x, at| {
            let value = normalize::<V>(V::load(z.as_ptr().add(at)), affine, block);
            value.add(skipped::<V>(skip, block, y, x, at)).relu().store(out.add(at));
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
        each_pixel(extent, |block, y, x, at| {
            V::load(out.add(at)).add(skipped::<V>(skip, block, y, x, at)).store(out.add(at));
        });
    }
}

#[inline(always)]
fn each_pixel(extent: &Extent, mut pixel: impl FnMut(usize, usize, usize, usize)) {
    for block in 0..extent.blocks {
        for y in 0..extent.height {
            for x in 0..extent.width {
                pixel(block, y, x, ((block * extent.height + y) * extent.width + x) * BLOCK);
            }
        }
    }
}

#[inline(always)]
unsafe fn skipped<V: Lanes>(skip: Skip<'_>, block: usize, y: usize, x: usize, at: usize) -> V {
    // SAFETY: the caller's slices hold the extent that (block, y, x) lies in.
    unsafe {
        match skip {
            Skip::None => V::splat(0.0),
            Skip::Image { values, blocks, stride, height, width } => {
                if block < blocks {
                    let at = ((block * height + y * stride) * width + x * stride) * BLOCK;
                    V::load(values.as_ptr().add(at))
                } else {
                    V::splat(0.0)
                }
            }
            Skip::Normed { values, affine } => normalize::<V>(V::load(values.as_ptr().add(at)), affine, block),
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

simd_kernel! {
    /// In place: grad = grad where norm(z) > 0 (the ReLU after a norm); per channel the sums of grad and grad * (z - mean).
    ///
    /// # Safety
    /// The slices must hold `extent`'s images and channels.
    pub(crate) unsafe fn relu_grad(
        grad: &mut [f32], z: &[f32], affine: &Affine, sums: Option<(&mut [f32], &mut [f32])>, extent: &Extent,
    ) = relu_grad_lanes
}

#[inline(always)]
unsafe fn relu_grad_lanes<V: Lanes>(
    grad: &mut [f32],
    z: &[f32],
    affine: &Affine,
    sums: Option<(&mut [f32], &mut [f32])>,
    extent: &Extent,
) {
    assert!(grad.len() >= extent.len() && z.len() >= extent.len());
    assert!(affine.shift.len() >= extent.blocks * BLOCK);
    let grad = grad.as_mut_ptr();
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        gated::<V>(z, affine, sums, extent, |block, at, _, _| {
            let value = V::load(grad.add(at)).where_positive(normalize::<V>(V::load(z.as_ptr().add(at)), affine, block));
            value.store(grad.add(at));
            value
        });
    }
}

/// Where the gradient of a residual sum's other branch comes from.
#[derive(Clone, Copy)]
pub(crate) struct SkipGrad<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub height: usize,
    pub width: usize,
}

simd_kernel! {
    /// In place: grad = (grad + skip) where out > 0 (the ReLU that ends a post-activation block); sums as in `relu_grad`.
    ///
    /// # Safety
    /// The slices must hold `extent`'s images and channels.
    pub(crate) unsafe fn join_grad(
        grad: &mut [f32], skip: Option<SkipGrad<'_>>, out: &[f32], z: &[f32], affine: &Affine,
        sums: Option<(&mut [f32], &mut [f32])>, extent: &Extent,
    ) = join_grad_lanes
}

#[inline(always)]
unsafe fn join_grad_lanes<V: Lanes>(
    grad: &mut [f32],
    skip: Option<SkipGrad<'_>>,
    out: &[f32],
    z: &[f32],
    affine: &Affine,
    sums: Option<(&mut [f32], &mut [f32])>,
    extent: &Extent,
) {
    assert!(grad.len() >= extent.len() && out.len() >= extent.len() && z.len() >= extent.len());
    assert!(affine.mean.len() >= extent.blocks * BLOCK);
    let grad = grad.as_mut_ptr();
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        gated::<V>(z, affine, sums, extent, |block, at, y, x| {
            let mut value = V::load(grad.add(at));
            if let Some(skip) = skip {
                value = value.add(skip_grad_at::<V>(skip, block, y, x));
            }
            let value = value.where_positive(V::load(out.as_ptr().add(at)));
            value.store(grad.add(at));
            value
        });
    }
}

/// The transpose of [`Skip::Image`]: pixels that the stride left out get nothing.
#[inline(always)]
unsafe fn skip_grad_at<V: Lanes>(skip: SkipGrad<'_>, block: usize, y: usize, x: usize) -> V {
    // SAFETY: the skip image has at least the blocks of this one, and a pixel for each stride-th pixel.
    unsafe {
        if y.is_multiple_of(skip.stride) && x.is_multiple_of(skip.stride) {
            let at = ((block * skip.height + y / skip.stride) * skip.width + x / skip.stride) * BLOCK;
            V::load(skip.values.as_ptr().add(at))
        } else {
            V::splat(0.0)
        }
    }
}

/// Runs `value` over every pixel and sums it, and it times (z - mean), per channel.
#[inline(always)]
unsafe fn gated<V: Lanes>(
    z: &[f32],
    affine: &Affine,
    sums: Option<(&mut [f32], &mut [f32])>,
    extent: &Extent,
    mut value: impl FnMut(usize, usize, usize, usize) -> V,
) {
    // SAFETY: the caller checked the lengths.
    unsafe {
        match sums {
            None => each_pixel(extent, |block, y, x, at| {
                value(block, at, y, x);
            }),
            Some((sum, product)) => {
                assert!(sum.len() >= extent.blocks * BLOCK && product.len() >= extent.blocks * BLOCK);
                for block in 0..extent.blocks {
                    let mean = V::load(affine.mean.as_ptr().add(block * BLOCK));
                    let (mut total, mut total_product) = (V::splat(0.0), V::splat(0.0));
                    for y in 0..extent.height {
                        let (mut row, mut row_product) = (V::splat(0.0), V::splat(0.0));
                        for x in 0..extent.width {
                            let at = ((block * extent.height + y) * extent.width + x) * BLOCK;
                            let g = value(block, at, y, x);
                            row = row.add(g);
                            row_product = row_product.fma(g, V::load(z.as_ptr().add(at)).sub(mean));
                        }
                        total = total.add(row);
                        total_product = total_product.add(row_product);
                    }
                    total.store(sum.as_mut_ptr().add(block * BLOCK));
                    total_product.store(product.as_mut_ptr().add(block * BLOCK));
                }
            }
        }
    }
}

simd_kernel! {
    /// to (bordered) = gradient by z of the norm, where there is one, plus `raw`, where there is one.
    ///
    /// # Safety
    /// The slices must hold `extent`'s images and channels.
    pub(crate) unsafe fn grad_into(
        normed: Option<(&[f32], &[f32], &GradAffine)>, raw: Option<&[f32]>, to: &mut [f32], extent: &Extent,
    ) = grad_into_lanes
}

#[inline(always)]
unsafe fn grad_into_lanes<V: Lanes>(
    normed: Option<(&[f32], &[f32], &GradAffine)>,
    raw: Option<&[f32]>,
    to: &mut [f32],
    extent: &Extent,
) {
    assert!(to.len() >= extent.bordered_len());
    assert!(raw.is_none_or(|raw| raw.len() >= extent.len()));
    if let Some((grad, z, affine)) = normed {
        assert!(grad.len() >= extent.len() && z.len() >= extent.len());
        assert!(affine.slope.len() >= extent.blocks * BLOCK);
    }
    let to = to.as_mut_ptr();
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        into_bordered::<V>(to, extent, |block, at, out| {
            let mut value = match normed {
                None => V::splat(0.0),
                Some((grad, z, affine)) => {
                    let c = block * BLOCK;
                    let distance = V::load(z.as_ptr().add(at)).sub(V::load(affine.mean.as_ptr().add(c)));
                    let centred = V::load(grad.as_ptr().add(at)).sub(V::load(affine.offset.as_ptr().add(c)));
                    centred
                        .sub(distance.mul(V::load(affine.slope.as_ptr().add(c))))
                        .mul(V::load(affine.scale.as_ptr().add(c)))
                }
            };
            if let Some(raw) = raw {
                value = value.add(V::load(raw.as_ptr().add(at)));
            }
            value.store(to.add(out));
        });
    }
}

simd_kernel! {
    /// to = gradient of a strided, zero-padded skip: zeros but for the pixels that the stride kept.
    ///
    /// # Safety
    /// `to` must hold `extent`'s image, `skip` the strided one with at least as many blocks.
    pub(crate) unsafe fn spread(skip: SkipGrad<'_>, to: &mut [f32], extent: &Extent) = spread_lanes
}

#[inline(always)]
unsafe fn spread_lanes<V: Lanes>(skip: SkipGrad<'_>, to: &mut [f32], extent: &Extent) {
    assert!(to.len() >= extent.len());
    let to = to.as_mut_ptr();
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        each_pixel(extent, |block, y, x, at| skip_grad_at::<V>(skip, block, y, x).store(to.add(at)));
    }
}

simd_kernel! {
    /// Per channel the sums of grad and grad * (z - mean), for a norm without a ReLU of its own.
    ///
    /// # Safety
    /// The slices must hold `extent`'s images and channels.
    pub(crate) unsafe fn grad_sums(
        grad: &[f32], z: &[f32], affine: &Affine, sums: (&mut [f32], &mut [f32]), extent: &Extent,
    ) = grad_sums_lanes
}

#[inline(always)]
unsafe fn grad_sums_lanes<V: Lanes>(
    grad: &[f32],
    z: &[f32],
    affine: &Affine,
    sums: (&mut [f32], &mut [f32]),
    extent: &Extent,
) {
    assert!(grad.len() >= extent.len() && z.len() >= extent.len());
    assert!(affine.mean.len() >= extent.blocks * BLOCK);
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe { gated::<V>(z, affine, Some(sums), extent, |_, at, _, _| V::load(grad.as_ptr().add(at))) }
}
