//! Average pooling by an integer factor: how reduced presets make images smaller.

/// Averages `factor` x `factor` blocks of each of the three planes of `image` (3, size, size) into `out`
/// (3, size / factor, size / factor), rounding half up. `factor` must divide `size`.
pub(crate) fn average(image: &[u8], size: usize, factor: usize, out: &mut [u8]) {
    let small = size / factor;
    let block = (factor * factor) as u32;
    for (i, value) in out.iter_mut().enumerate() {
        let (plane, y, x) = (i / (small * small), i / small % small, i % small);
        let corner = plane * size * size + y * factor * size + x * factor;
        let sum: u32 = (0..factor)
            .map(|dy| &image[corner + dy * size..][..factor])
            .flat_map(|row| row.iter().map(|&v| u32::from(v)))
            .sum();
        *value = ((sum + block / 2) / block) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_averaged_within_their_plane_and_rounded() {
        // One 4x4 plane by hand: blocks sum to 0+1+4+5 = 10, 2+3+6+7 = 18, 42, 50; over 4, half up: 3, 5, 11, 13.
        let plane: Vec<u8> = (0..16).collect();
        let image = [plane.clone(), plane.iter().map(|v| v + 100).collect(), vec![255; 16]].concat();
        let mut out = [0; 12];
        average(&image, 4, 2, &mut out);
        assert_eq!(out, [3, 5, 11, 13, 103, 105, 111, 113, 255, 255, 255, 255]);
    }

    #[test]
    fn factor_one_changes_nothing() {
        let image: Vec<u8> = (0..48).collect();
        let mut out = [0; 48];
        average(&image, 4, 1, &mut out);
        assert_eq!(out.to_vec(), image);
    }
}
