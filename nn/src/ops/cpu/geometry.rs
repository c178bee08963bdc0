//! A convolution's shape, and how its three sums (forward, gradient by input, gradient by weight) map onto the kernels:
//! which taps, which grid, which order of the packed weights.

use super::winograd::Winograd;
use super::{BLOCK, blocks};

/// A square convolution with "same" padding: kernel / 2 zeros on each side, no dilation, no groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConvShape {
    pub channels_in: usize,
    pub channels_out: usize,
    /// Odd.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    pub height: usize,
    pub width: usize,
}

/// One parity of the transposed convolution: outputs (stride * i + row, stride * j + col).
pub(super) struct Parity {
    pub row: usize,
    pub col: usize,
    pub taps: Vec<usize>,
    /// Index of each tap in the kernel, row-major.
    pub kernel: Vec<usize>,
}

impl ConvShape {
    pub(crate) fn pad(&self) -> usize {
        self.kernel / 2
    }

    pub(crate) fn out_height(&self) -> usize {
        (self.height - 1) / self.stride + 1
    }

    pub(crate) fn out_width(&self) -> usize {
        (self.width - 1) / self.stride + 1
    }

    /// Floats of one member's weights as the direct loops read them: the forward and the transposed order take the same.
    pub(super) fn direct_len(&self) -> usize {
        blocks(self.channels_in) * blocks(self.channels_out) * self.kernel * self.kernel * BLOCK * BLOCK
    }

    /// Winograd's form of the sum from `channels_in` to `channels_out`, where it has one. Fewer channels than a block
    /// would be transformed as a whole one: for them the direct sum is faster.
    pub(super) fn minimal(&self, channels_in: usize, channels_out: usize) -> Option<Winograd> {
        let even = self.height.is_multiple_of(2) && self.width.is_multiple_of(2);
        let fits = self.kernel == 3 && self.stride == 1 && even && channels_in >= BLOCK;
        fits.then_some(Winograd { channels_in, channels_out, height: self.height, width: self.width })
    }

    /// Floats of a bordered input image.
    pub(crate) fn bordered_in_len(&self) -> usize {
        blocks(self.channels_in) * (self.height + 2 * self.pad()) * (self.width + 2 * self.pad()) * BLOCK
    }

    /// Floats of a bordered output gradient.
    pub(crate) fn bordered_out_len(&self) -> usize {
        blocks(self.channels_out)
            * (self.out_height() + 2 * self.pad())
            * (self.out_width() + 2 * self.pad())
            * BLOCK
    }

    /// Multiply-adds of the forward pass of one image.
    pub(crate) fn multiply_adds(&self) -> u64 {
        (self.channels_in * self.channels_out * self.kernel * self.kernel) as u64
            * (self.out_height() * self.out_width()) as u64
    }

    pub(super) fn bordered_row(&self) -> usize {
        (self.width + 2 * self.pad()) * BLOCK
    }

    pub(super) fn forward_taps(&self) -> Vec<usize> {
        (0..self.kernel * self.kernel)
            .map(|t| (t / self.kernel) * self.bordered_row() + (t % self.kernel) * BLOCK)
            .collect()
    }

    /// With y = stride * i + row, tap k reads output gradient row i + (row + pad - k) / stride, where that is whole.
    pub(super) fn parities(&self) -> Vec<Parity> {
        let (stride, pad) = (self.stride, self.pad());
        let row_len = (self.out_width() + 2 * pad) * BLOCK;
        let steps = |parity: usize| -> Vec<(usize, usize)> {
            (0..self.kernel)
                .filter(|k| (parity + pad + stride * self.kernel - k).is_multiple_of(stride))
                // Rows of the bordered gradient start `pad` rows early, so this never goes below zero.
                .map(|k| (k, (parity + pad + stride * pad - k) / stride))
                .collect()
        };
        let mut parities = Vec::new();
        for row in 0..stride.min(self.height) {
            for col in 0..stride.min(self.width) {
                let mut parity = Parity { row, col, taps: Vec::new(), kernel: Vec::new() };
                for (ky, dy) in steps(row) {
                    for (kx, dx) in steps(col) {
                        parity.taps.push(dy * row_len + dx * BLOCK);
                        parity.kernel.push(ky * self.kernel + kx);
                    }
                }
                parities.push(parity);
            }
        }
        parities
    }
}
