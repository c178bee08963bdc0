//! The operators of a training step on the CPU: hand-blocked loops over channel-blocked images.
//!
//! Everything here works on one image (or a few) at a time and on plain memory; which image, which thread and in which
//! order is the business of the crate's `engine`. A feature map of C channels is stored as (C / 16, H, W, 16), rounded up,
//! with zeros in the lanes that have no channel.

pub(crate) mod convolution;
pub(crate) mod correlate;
pub(crate) mod fold;
pub(crate) mod geometry;
mod pack;
pub mod peak;
pub(crate) mod pointwise;
pub(crate) mod rows;
pub mod simd;
pub(crate) mod weight_grad;
pub(crate) mod winograd;

/// Channels in a block: the lanes of a vector.
pub(crate) const BLOCK: usize = 16;

/// Blocks that `channels` take.
pub(crate) const fn blocks(channels: usize) -> usize {
    channels.div_ceil(BLOCK)
}

/// `channels` rounded up to whole blocks.
pub(crate) const fn padded(channels: usize) -> usize {
    blocks(channels) * BLOCK
}

#[cfg(test)]
pub(crate) mod tests;
