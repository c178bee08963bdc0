//! Pad-crop-flip augmentation: METHODOLOGY.md, section "Data" (pad 4, random crop, random horizontal flip).

use random::Draws;

/// One draw of the augmentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CropFlip {
    /// First row of the crop in the padded image, 0 to 2 * pad.
    pub top: usize,
    /// First column of the crop in the padded image, 0 to 2 * pad.
    pub left: usize,
    /// Whether the crop is mirrored left to right.
    pub flip: bool,
}

impl CropFlip {
    /// Draws a crop of an image padded by `pad` on every side, and a mirror with probability one half.
    pub fn draw(pad: usize, draws: &mut Draws) -> Self {
        let places = 2 * pad as u32 + 1;
        Self {
            top: draws.below(places) as usize,
            left: draws.below(places) as usize,
            flip: draws.below(2) == 1,
        }
    }

    /// Writes the crop of `image` (3, size, size) into `out` (3, size, size) as value / 255; the padding is 0 (black).
    ///
    /// # Panics
    /// Where the slices do not hold one image each.
    pub fn apply(self, image: &[u8], size: usize, pad: usize, out: &mut [f32]) {
        assert_eq!((image.len(), out.len()), (3 * size * size, 3 * size * size), "one planar image each");
        for (i, out) in out.chunks_exact_mut(size).enumerate() {
            let (plane, y) = (i / size, i % size);
            let source_y = (y + self.top).wrapping_sub(pad);
            if source_y >= size {
                out.fill(0.0);
                continue;
            }
            let row = &image[(plane * size + source_y) * size..][..size];
            for (x, out) in out.iter_mut().enumerate() {
                let x = if self.flip { size - 1 - x } else { x };
                *out =
                    row.get((x + self.left).wrapping_sub(pad)).map_or(0.0, |&value| f32::from(value) / 255.0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0..12 as a (3, 2, 2) image; expected values follow from shifting and mirroring it by hand.
    #[test]
    fn crops_shift_mirror_and_pad_with_black() {
        let image: Vec<u8> = (1..13).collect();
        let apply = |top, left, flip| {
            let mut out = vec![9.0; 12];
            CropFlip { top, left, flip }.apply(&image, 2, 1, &mut out);
            out.iter().map(|v| (v * 255.0).round() as u8).collect::<Vec<_>>()
        };
        assert_eq!(apply(1, 1, false), image);
        assert_eq!(apply(1, 1, true), [2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11]);
        assert_eq!(apply(0, 1, false), [0, 0, 1, 2, 0, 0, 5, 6, 0, 0, 9, 10]);
        assert_eq!(apply(1, 2, false), [2, 0, 4, 0, 6, 0, 8, 0, 10, 0, 12, 0]);
        assert_eq!(apply(2, 0, true), [3, 0, 0, 0, 7, 0, 0, 0, 11, 0, 0, 0]);
    }
}
