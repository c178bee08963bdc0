//! Mean and standard deviation of each channel over images, as [`Spec`](crate::Spec) has them: over all pixels of all images, on
//! the [0, 1] scale, the deviation with n and not n - 1.

/// How far a mean or deviation may be from the catalog's: it is printed with four digits, the training part is nine tenths of the
/// file, and JPEG decoders differ.
pub(crate) const TOLERANCE: f64 = 0.01;

/// Mean and standard deviation of the channels red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channels {
    /// Means.
    pub mean: [f64; 3],
    /// Standard deviations.
    pub std: [f64; 3],
}

impl Channels {
    /// Whether every mean and deviation is within [`TOLERANCE`] of the other's.
    pub(crate) fn is_near(&self, other: &Self) -> bool {
        let pairs = self.mean.iter().zip(&other.mean).chain(self.std.iter().zip(&other.std));
        pairs.into_iter().all(|(one, other)| (one - other).abs() <= TOLERANCE)
    }
}

impl std::fmt::Display for Channels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [mean, std] = [self.mean, self.std].map(|of| of.map(|value| format!("{value:.4}")).join(", "));
        write!(f, "channel means {mean}, deviations {std}")
    }
}

/// Sums over pixels that were seen: whole numbers, so that their order changes nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pixels: u64,
    values: [u64; 3],
    squares: [u64; 3],
}

impl Sums {
    /// Adds planar images (rows, 3, `size`, `size`).
    pub(crate) fn add(&mut self, images: &[u8], size: usize) {
        for image in images.chunks_exact(3 * size * size) {
            for (channel, plane) in image.chunks_exact(size * size).enumerate() {
                self.values[channel] += plane.iter().map(|value| u64::from(*value)).sum::<u64>();
                self.squares[channel] += plane.iter().map(|value| u64::from(*value).pow(2)).sum::<u64>();
            }
            self.pixels += (size * size) as u64;
        }
    }

    /// The statistics of what was added; none of nothing.
    pub(crate) fn channels(&self) -> Option<Channels> {
        let count = self.pixels as f64;
        let mean = self.values.map(|sum| sum as f64 / count / 255.0);
        let square = self.squares.map(|sum| sum as f64 / count / 255.0_f64.powi(2));
        let std = [0, 1, 2].map(|channel| (square[channel] - mean[channel].powi(2)).max(0.0).sqrt());
        (self.pixels > 0).then_some(Channels { mean, std })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_over_all_pixels_of_all_images() {
        // Two images of 2x2. Red is 0 in one and 255 in the other: mean 1/2, deviation 1/2. Green is 51 = 255/5 everywhere.
        // Blue is 255 at one pixel of eight: mean 1/8, deviation sqrt(1/8 - 1/64).
        let one = [[0; 4], [51; 4], [0, 255, 0, 0]].concat();
        let other = [[255; 4], [51; 4], [0; 4]].concat();
        let (mut apart, mut together) = (Sums::default(), Sums::default());
        apart.add(&one, 2);
        apart.add(&other, 2);
        together.add(&[one, other].concat(), 2);
        let found = apart.channels().unwrap();
        assert_eq!(Some(found), together.channels());
        for (found, expected) in found.mean.iter().zip([0.5, 0.2, 0.125]) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        for (found, expected) in found.std.iter().zip([0.5, 0.0, (0.125_f64 - 0.125 * 0.125).sqrt()]) {
            assert!((found - expected).abs() < 1e-8, "{found} {expected}");
        }
        assert_eq!(Sums::default().channels(), None);
    }

    #[test]
    fn a_hundredth_is_near() {
        let one = Channels { mean: [0.5; 3], std: [0.25; 3] };
        assert!(one.is_near(&Channels { mean: [0.5, 0.509, 0.491], ..one }));
        assert!(!one.is_near(&Channels { mean: [0.5, 0.5, 0.511], ..one }));
        assert!(!one.is_near(&Channels { std: [0.239, 0.25, 0.25], ..one }));
        assert!(!one.is_near(&Channels { std: [f64::NAN; 3], ..one }));
    }
}
