//! Counter-based random streams: every draw is a pure function of (seed, stream name, epoch, index, position).
//!
//! The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//! Nothing is stored between draws, so a resumed run needs no generator state, the order in which threads work does
//! not matter, and a device that runs the same ten rounds gets the same numbers.
//!
//! ```
//! let stream = random::Stream::new(7, "augment");
//! let mut a = stream.draws(3, 41); // epoch 3, example 41
//! let mut b = stream.draws(3, 41);
//! assert_eq!(a.next_u32(), b.next_u32());
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

/// One block of Philox4x32-10: four 32-bit words for a 128-bit counter under a 64-bit key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    for _ in 0..10 {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

/// A named family of draws under one seed, such as `Stream::new(seed, "shuffle")`.
///
/// Streams with different names or seeds are independent: both enter the 64-bit Philox key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    key: [u32; 2],
}

impl Stream {
    /// The stream `name` of `seed`.
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a of the name, then one SplitMix64 finalisation of name and seed: neighbouring seeds share no key bits.
        let hash = name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3));
        let mixed = split_mix(split_mix(seed) ^ hash);
        Self { key: [mixed as u32, (mixed >> 32) as u32] }
    }

    /// The Philox key, for devices that run the generator themselves.
    pub fn key(&self) -> [u32; 2] {
        self.key
    }

    /// The draws for `index` (an example, a step, a parameter ..) in `epoch`, from their beginning.
    pub fn draws(&self, epoch: u32, index: u64) -> Draws {
        Draws {
            key: self.key,
            counter: [0, epoch, index as u32, (index >> 32) as u32],
            block: [0; 4],
            used: 4,
        }
    }
}

fn split_mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An endless sequence of numbers: 2^34 words before it repeats.
#[derive(Clone, Debug)]
pub struct Draws {
    key: [u32; 2],
    /// (block, epoch, low and high word of the index)
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Draws {
    /// 32 uniform bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox4x32(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        let word = self.block[self.used];
        self.used += 1;
        word
    }

    /// 64 uniform bits.
    pub fn next_u64(&mut self) -> u64 {
        u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32
    }

    /// Uniform in [0, 1), a multiple of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in [low, high). `low` where the two are equal.
    pub fn uniform_in(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// Standard normal by Box and Muller's transform: two words a draw, one normal each. The logarithm and cosine are not the
    /// system's, so that every system draws the same.
    pub fn normal(&mut self) -> f32 {
        // In (0, 1]: the logarithm stays finite.
        let u = (f64::from(self.next_u32()) + 1.0) * (1.0 / 4_294_967_296.0);
        let v = f64::from(self.next_u32()) * (1.0 / 4_294_967_296.0);
        ((-2.0 * libm::log(u)).sqrt() * libm::cos(std::f64::consts::TAU * v)) as f32
    }

    /// Uniform in 0..n without bias (Lemire's multiplication with rejection). Zero where `n` is zero.
    pub fn below(&mut self, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        let threshold = n.wrapping_neg() % n;
        loop {
            let product = u64::from(self.next_u32()) * u64::from(n);
            if product as u32 >= threshold {
                return (product >> 32) as u32;
            }
        }
    }

    /// Fisher and Yates' shuffle. Slices are limited to 2^32 - 1 elements.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            let other = self.below(last as u32 + 1) as usize;
            values.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with the authors' Random123 library.
    #[test]
    fn philox_gives_the_published_words() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn streams_differ_by_seed_name_epoch_and_index() {
        let first = |seed, name, epoch, index| Stream::new(seed, name).draws(epoch, index).next_u64();
        let reference = first(1, "init", 0, 0);
        for other in
            [first(2, "init", 0, 0), first(1, "ods", 0, 0), first(1, "init", 1, 0), first(1, "init", 0, 1)]
        {
            assert_ne!(reference, other);
        }
    }

    #[test]
    fn uniform_and_normal_have_their_moments() {
        let mut draws = Stream::new(11, "moments").draws(0, 0);
        let n = 200_000;
        let uniforms: Vec<f64> = (0..n).map(|_| f64::from(draws.uniform())).collect();
        let normals: Vec<f64> = (0..n).map(|_| f64::from(draws.normal())).collect();
        let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
        let var = |v: &[f64]| {
            let centre = mean(v);
            v.iter().map(|x| (x - centre).powi(2)).sum::<f64>() / v.len() as f64
        };
        // Five standard errors of each moment.
        assert!((mean(&uniforms) - 0.5).abs() < 5.0 * (1.0 / 12.0_f64 / n as f64).sqrt());
        assert!(uniforms.iter().all(|u| (0.0..1.0).contains(u)));
        assert!(mean(&normals).abs() < 5.0 / (n as f64).sqrt());
        assert!((var(&normals) - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt());
    }

    #[test]
    fn below_is_in_range_and_shuffle_keeps_the_elements() {
        let mut draws = Stream::new(3, "shuffle").draws(2, 0);
        assert!((0..1000).all(|_| draws.below(7) < 7));
        assert_eq!(draws.below(0), 0);
        let mut values: Vec<u32> = (0..100).collect();
        draws.shuffle(&mut values);
        assert_ne!(values, (0..100).collect::<Vec<_>>());
        values.sort_unstable();
        assert_eq!(values, (0..100).collect::<Vec<_>>());
    }
}
