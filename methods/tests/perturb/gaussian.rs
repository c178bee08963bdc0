//! Gaussian noise: clip(x + eta z).

use methods::perturb::gaussian;
use proptest::prelude::*;

use crate::fixture::{DIMENSION, cases, draws, random_images, values, weights};

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn the_noise_is_added_and_clipped(seed in 0..1000_u64, batch in 1..=5_usize, eta in 0.0..60.0_f64) {
        let images = random_images(seed, batch, 0.0, 1.0);
        let mut draws = draws(seed ^ 3);
        let z: Vec<f32> = (0..batch * DIMENSION).map(|_| draws.normal()).collect();
        let found = values(&gaussian(&images, &weights(&z), eta).unwrap());
        for ((found, x), z) in found.iter().zip(values(&images)).zip(z) {
            let expected = (f64::from(x) + eta / 255.0 * f64::from(z)).clamp(0.0, 1.0);
            prop_assert!((f64::from(*found) - expected).abs() < 1e-6, "{found} {expected}");
        }
    }
}
