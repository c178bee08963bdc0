//! Per-pixel operators on one blocked image: batch norm forward and backward with ReLU and residual sum, the sums that
//! batch statistics need, and the copies into bordered images that convolutions read.
//!
//! Normalisation is written (z - mean) * scale + shift with scale = gamma / sqrt(var + eps) and shift = beta; its
//! gradient by z is scale * (g - offset - (z - mean) * slope), where offset = mean of g and slope = mean of
//! g * (z - mean) over the variance, both zero where the statistics are constants (eval mode).

mod backward;
mod forward;

pub(crate) use backward::{SkipGrad, grad_into, grad_sums, join_grad, relu_grad, spread};
pub(crate) use forward::{add_skip, copy, join, moments, norm_relu};

use super::BLOCK;
use super::simd::Lanes;

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
