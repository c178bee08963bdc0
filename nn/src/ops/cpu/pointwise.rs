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
    Image {
        values: &'a [f32],
        blocks: usize,
        stride: usize,
        height: usize,
        width: usize,
    },
    /// A normalised image of the same extent.
    Normed {
        values: &'a [f32],
        affine: &'a Affine,
    },
}

/// Calls `row(block, source, destination)` with the float offsets of every row's first pixel, and zeroes the
/// destination's border.
#[inline(always)]
unsafe fn into_bordered<V: Lanes>(to: *mut f32, extent: &Extent, mut row: impl FnMut(usize, usize, usize)) {
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
                let start = base + (y + border) * width;
                for edge in 0..border {
                    zero.store(to.add((start + edge) * BLOCK));
                    zero.store(to.add((start + width - 1 - edge) * BLOCK));
                }
                row(block, (block * extent.height + y) * extent.width * BLOCK, (start + border) * BLOCK);
            }
        }
    }
}

/// Calls `row(block, y, offset)` with the float offset of every row's first pixel.
#[inline(always)]
fn each_row(extent: &Extent, mut row: impl FnMut(usize, usize, usize)) {
    for block in 0..extent.blocks {
        for y in 0..extent.height {
            row(block, y, (block * extent.height + y) * extent.width * BLOCK);
        }
    }
}

/// One block's coefficients in registers.
#[derive(Clone, Copy)]
struct Coefficients<V> {
    mean: V,
    scale: V,
    shift: V,
}

impl<V: Lanes> Coefficients<V> {
    #[inline(always)]
    unsafe fn of(affine: &Affine, block: usize) -> Self {
        let at = block * BLOCK;
        // SAFETY: the caller checked that `affine` has the block's lanes.
        unsafe {
            Self {
                mean: V::load(affine.mean.as_ptr().add(at)),
                scale: V::load(affine.scale.as_ptr().add(at)),
                shift: V::load(affine.shift.as_ptr().add(at)),
            }
        }
    }

    #[inline(always)]
    unsafe fn apply(self, z: V) -> V {
        // SAFETY: arithmetic alone.
        unsafe { self.shift.fma(z.sub(self.mean), self.scale) }
    }
}

fn has_lanes(affine: &Affine, extent: &Extent) -> bool {
    let lanes = extent.blocks * BLOCK;
    affine.mean.len() >= lanes && affine.scale.len() >= lanes && affine.shift.len() >= lanes
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

/// Sums per channel of a gradient g and of g * (z - mean): where to put them.
pub(crate) type GradSums<'a> = Option<(&'a mut [f32], &'a mut [f32])>;

simd_kernel! {
    /// In place: grad = grad where norm(z) > 0 (the ReLU after a norm); per channel the sums of grad and grad * (z - mean).
    ///
    /// # Safety
    /// The slices must hold `extent`'s images and channels.
    pub(crate) unsafe fn relu_grad(
        grad: &mut [f32], z: &[f32], affine: &Affine, sums: GradSums<'_>, extent: &Extent,
    ) = relu_grad_lanes
}

#[inline(always)]
unsafe fn relu_grad_lanes<V: Lanes>(
    grad: &mut [f32],
    z: &[f32],
    affine: &Affine,
    sums: GradSums<'_>,
    extent: &Extent,
) {
    assert!(grad.len() >= extent.len() && z.len() >= extent.len() && has_lanes(affine, extent));
    let grad = grad.as_mut_ptr();
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        summed::<V>(z, affine, sums, extent, |norm, _, _, at, x, z| {
            let at = grad.add(at + x * BLOCK);
            let value = V::load(at).where_positive(norm.apply(z));
            value.store(at);
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

impl SkipGrad<'_> {
    /// The transpose of [`Skip::Image`]: pixels that the stride left out get nothing.
    #[inline(always)]
    unsafe fn at<V: Lanes>(&self, block: usize, y: usize, x: usize) -> V {
        // SAFETY: the skip image has at least the blocks of this one, and a pixel for each stride-th pixel.
        unsafe {
            if self.stride == 1 || (y.is_multiple_of(2) && x.is_multiple_of(2)) {
                let row = block * self.height + y / self.stride;
                V::load(self.values.as_ptr().add((row * self.width + x / self.stride) * BLOCK))
            } else {
                V::splat(0.0)
            }
        }
    }
}

simd_kernel! {
    /// In place: grad = (grad + skip) where out > 0 (the ReLU that ends a post-activation block); sums as in `relu_grad`.
    ///
    /// # Safety
    /// The slices must hold `extent`'s images and channels.
    pub(crate) unsafe fn join_grad(
        grad: &mut [f32], skip: Option<SkipGrad<'_>>, out: &[f32], z: &[f32], affine: &Affine,
        sums: GradSums<'_>, extent: &Extent,
    ) = join_grad_lanes
}

#[inline(always)]
unsafe fn join_grad_lanes<V: Lanes>(
    grad: &mut [f32],
    skip: Option<SkipGrad<'_>>,
    out: &[f32],
    z: &[f32],
    affine: &Affine,
    sums: GradSums<'_>,
    extent: &Extent,
) {
    assert!(grad.len() >= extent.len() && out.len() >= extent.len() && z.len() >= extent.len());
    assert!(has_lanes(affine, extent));
    let (grad, out) = (grad.as_mut_ptr(), out.as_ptr());
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        match skip {
            None => summed::<V>(z, affine, sums, extent, |_, _, _, at, x, _| {
                let at = at + x * BLOCK;
                let value = V::load(grad.add(at)).where_positive(V::load(out.add(at)));
                value.store(grad.add(at));
                value
            }),
            Some(skip) => summed::<V>(z, affine, sums, extent, |_, block, y, at, x, _| {
                let at = at + x * BLOCK;
                let value =
                    V::load(grad.add(at)).add(skip.at(block, y, x)).where_positive(V::load(out.add(at)));
                value.store(grad.add(at));
                value
            }),
        }
    }
}

simd_kernel! {
    /// Per channel the sums of grad and grad * (z - mean), for a norm without a ReLU of its own.
    ///
    /// # Safety
    /// The slices must hold `extent`'s images and channels.
    pub(crate) unsafe fn grad_sums(
        grad: &[f32], z: &[f32], affine: &Affine, sums: GradSums<'_>, extent: &Extent,
    ) = grad_sums_lanes
}

#[inline(always)]
unsafe fn grad_sums_lanes<V: Lanes>(
    grad: &[f32],
    z: &[f32],
    affine: &Affine,
    sums: GradSums<'_>,
    extent: &Extent,
) {
    assert!(grad.len() >= extent.len() && z.len() >= extent.len() && has_lanes(affine, extent));
    let grad = grad.as_ptr();
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe { summed::<V>(z, affine, sums, extent, |_, _, _, at, x, _| V::load(grad.add(at + x * BLOCK))) }
}

/// Runs `value(norm, block, y, row offset, x, z)` over every pixel and sums it, and it times (z - mean), per channel.
#[inline(always)]
unsafe fn summed<V: Lanes>(
    z: &[f32],
    affine: &Affine,
    sums: GradSums<'_>,
    extent: &Extent,
    mut value: impl FnMut(Coefficients<V>, usize, usize, usize, usize, V) -> V,
) {
    let z = z.as_ptr();
    let sums = sums.map(|(sum, product)| {
        assert!(sum.len() >= extent.blocks * BLOCK && product.len() >= extent.blocks * BLOCK);
        (sum.as_mut_ptr(), product.as_mut_ptr())
    });
    // SAFETY: the caller checked the lengths.
    unsafe {
        for block in 0..extent.blocks {
            let norm = Coefficients::<V>::of(affine, block);
            let (mut total, mut total_product) = (V::splat(0.0), V::splat(0.0));
            for y in 0..extent.height {
                let at = (block * extent.height + y) * extent.width * BLOCK;
                let (mut row, mut row_product) = (V::splat(0.0), V::splat(0.0));
                for x in 0..extent.width {
                    let z = V::load(z.add(at + x * BLOCK));
                    let g = value(norm, block, y, at, x, z);
                    row = row.add(g);
                    row_product = row_product.fma(g, z.sub(norm.mean));
                }
                total = total.add(row);
                total_product = total_product.add(row_product);
            }
            if let Some((sum, product)) = sums {
                total.store(sum.add(block * BLOCK));
                total_product.store(product.add(block * BLOCK));
            }
        }
    }
}

/// A gradient behind a norm: the gradient, the norm's input and the norm's coefficients.
pub(crate) type NormedGrad<'a> = (&'a [f32], &'a [f32], &'a GradAffine);

simd_kernel! {
    /// to (bordered) = gradient by z of the norm, where there is one, plus `raw`, where there is one.
    ///
    /// # Safety
    /// The slices must hold `extent`'s images and channels.
    pub(crate) unsafe fn grad_into(
        normed: Option<NormedGrad<'_>>, raw: Option<&[f32]>, to: &mut [f32], extent: &Extent,
    ) = grad_into_lanes
}

#[inline(always)]
unsafe fn grad_into_lanes<V: Lanes>(
    normed: Option<NormedGrad<'_>>,
    raw: Option<&[f32]>,
    to: &mut [f32],
    extent: &Extent,
) {
    assert!(to.len() >= extent.bordered_len());
    assert!(raw.is_none_or(|raw| raw.len() >= extent.len()));
    let to = to.as_mut_ptr();
    let raw = raw.map(<[f32]>::as_ptr);
    // SAFETY: offsets come from `extent`, the lengths were checked.
    unsafe {
        match normed {
            Some((grad, z, affine)) => {
                let lanes = extent.blocks * BLOCK;
                assert!(grad.len() >= extent.len() && z.len() >= extent.len());
                assert!(affine.mean.len() >= lanes && affine.scale.len() >= lanes);
                assert!(affine.offset.len() >= lanes && affine.slope.len() >= lanes);
                let (grad, z) = (grad.as_ptr(), z.as_ptr());
                into_bordered::<V>(to, extent, |block, at, out| {
                    let of = |values: &[f32]| V::load(values.as_ptr().add(block * BLOCK));
                    let (mean, scale) = (of(&affine.mean), of(&affine.scale));
                    let (offset, slope) = (of(&affine.offset), of(&affine.slope));
                    let by_norm = |at: usize| {
                        let distance = V::load(z.add(at)).sub(mean);
                        V::load(grad.add(at)).sub(offset).sub(distance.mul(slope)).mul(scale)
                    };
                    match raw {
                        None => {
                            for x in 0..extent.width {
                                by_norm(at + x * BLOCK).store(to.add(out + x * BLOCK));
                            }
                        }
                        Some(raw) => {
                            for x in 0..extent.width {
                                let at = at + x * BLOCK;
                                by_norm(at).add(V::load(raw.add(at))).store(to.add(out + x * BLOCK));
                            }
                        }
                    }
                });
            }
            None => into_bordered::<V>(to, extent, |_, at, out| {
                for x in 0..extent.width {
                    let value = raw.map_or(V::splat(0.0), |raw| V::load(raw.add(at + x * BLOCK)));
                    value.store(to.add(out + x * BLOCK));
                }
            }),
        }
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
        each_row(extent, |block, y, at| {
            for x in 0..extent.width {
                skip.at::<V>(block, y, x).store(to.add(at + x * BLOCK));
            }
        });
    }
}
