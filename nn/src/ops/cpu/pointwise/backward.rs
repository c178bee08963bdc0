//! Their gradients, and the sums that the gradient of a batch norm needs.

use super::{Affine, Coefficients, Extent, GradAffine, each_row, has_lanes, into_bordered};
use crate::ops::cpu::BLOCK;
use crate::ops::cpu::simd::{Lanes, simd_kernel};

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
