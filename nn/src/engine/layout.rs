//! Between candle's planar images (C, H, W) and the engine's channel-blocked ones.

use std::ops::Range;

use super::graph::Graph;
use super::memory::Rows;
use super::node_forward::Context;
use crate::ops::cpu::BLOCK;

/// (x - mean) / std of an image, channel-blocked and bordered.
pub(crate) fn image_into(context: &Context<'_>, border: usize, row: usize, to: &mut [f32]) {
    let shape = context.graph.image;
    let pixels = shape.height * shape.width;
    let image =
        &context.images[context.plan.image(row) * shape.channels * pixels..][..shape.channels * pixels];
    let width = shape.width + 2 * border;
    let plane = width * (shape.height + 2 * border);
    to.fill(0.0);
    for (c, values) in image.chunks_exact(pixels).enumerate() {
        let (mean, std) = (context.graph.pixel_mean[c], context.graph.pixel_std[c]);
        for (y, line) in values.chunks_exact(shape.width).enumerate() {
            let start = (c / BLOCK * plane + (y + border) * width + border) * BLOCK + c % BLOCK;
            for (value, to) in line.iter().zip(to[start..].iter_mut().step_by(BLOCK)) {
                *to = (value - mean) / std;
            }
        }
    }
}

/// out (blocks, 16) = mean over the pixels of each block.
pub(crate) fn mean_over_pixels(values: &[f32], out: &mut [f32]) {
    let per_block = values.len() / (out.len() / BLOCK).max(1);
    let scale = BLOCK as f32 / per_block as f32;
    for (block, out) in values.chunks_exact(per_block).zip(out.chunks_exact_mut(BLOCK)) {
        out.fill(0.0);
        for pixel in block.chunks_exact(BLOCK) {
            for (sum, value) in out.iter_mut().zip(pixel) {
                *sum += value;
            }
        }
        for value in out.iter_mut() {
            *value *= scale;
        }
    }
}

/// The last feature map of `rows`, unblocked to (C, H, W).
///
/// # Safety
/// No other task may touch any of these rows, of any map, meanwhile (see [`Rows`]).
pub(crate) unsafe fn write_output(graph: &Graph, rows: Range<usize>, features: &[Rows<'_>], out: &Rows<'_>) {
    let feature = graph.output();
    let shape = graph.features[feature];
    for row in rows {
        // SAFETY: this task's row.
        let (from, to) = unsafe { (features[feature].get(row), out.get_mut(row)) };
        unblock(from, to, shape.channels, shape.height * shape.width);
    }
}

/// to (C, pixels) = from (C / 16, pixels, 16).
pub(crate) fn unblock(from: &[f32], to: &mut [f32], channels: usize, pixels: usize) {
    for c in 0..channels {
        let lane = from[c / BLOCK * pixels * BLOCK + c % BLOCK..].iter().step_by(BLOCK);
        for (to, from) in to[c * pixels..(c + 1) * pixels].iter_mut().zip(lane) {
            *to = *from;
        }
    }
}

/// to (C / 16, pixels, 16) = from (C, pixels); lanes without a channel become zero.
pub(crate) fn block(from: &[f32], to: &mut [f32], channels: usize, pixels: usize) {
    to.fill(0.0);
    for c in 0..channels {
        let lane = to[c / BLOCK * pixels * BLOCK + c % BLOCK..].iter_mut().step_by(BLOCK);
        for (to, from) in lane.zip(&from[c * pixels..(c + 1) * pixels]) {
            *to = *from;
        }
    }
}
