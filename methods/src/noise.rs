//! The random draws of a step.

use candle_core::{Device, Tensor};
use nn::Result;
use nn::draws::{self, Keyed};
use random::Stream;

/// Source of the perturbations' randomness. A trait, so that a test can hand in recorded draws.
pub trait Noise {
    /// For each of `groups` batch-norm groups the index of the teacher that perturbs it, uniform below `teachers`.
    fn teachers(&self, groups: usize, teachers: usize) -> Vec<usize>;

    /// An index below `count` for the whole batch, uniform. (Of a part of a batch, [`Noise::teachers`] are those of its own
    /// groups.)
    fn one(&self, count: usize) -> usize {
        self.teachers(1, count).first().map_or(0, |index| index % count.max(1))
    }

    /// w ~ U(-1, 1), shape (B, K).
    ///
    /// # Errors
    /// Where the device has no memory.
    fn direction_weights(&self, batch: usize, classes: usize, device: &Device) -> Result<Tensor>;

    /// z ~ N(0, 1), of the given shape, whose first dimension is the batch.
    ///
    /// # Errors
    /// Where the device has no memory.
    fn gaussian(&self, shape: &[usize], device: &Device) -> Result<Tensor>;
}

/// Two different members below `members` (at least 2), every ordered pair as likely.
pub fn pair(noise: &dyn Noise, members: usize) -> (usize, usize) {
    let pairs = members * (members - 1);
    let index = noise.one(pairs);
    let (first, second) = (index / (members - 1), index % (members - 1));
    (first, if second >= first { second + 1 } else { second })
}

/// Draws from the counter-based streams "ods-teacher", "ods" and "gaussian", keyed by (seed, epoch, step, row): they
/// depend on nothing else, so a resumed run and another number of threads see the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Streams {
    /// Seed of the run.
    pub seed: u64,
    /// Epoch, from 1.
    pub epoch: u32,
    /// Step within the epoch.
    pub step: u64,
}

impl Streams {
    /// The draws of this step, a row at a time.
    fn keyed(&self, stream: &str) -> Keyed {
        Keyed { stream: Stream::new(self.seed, stream), epoch: self.epoch, first: self.step << 32 }
    }
}

impl Noise for Streams {
    fn teachers(&self, groups: usize, teachers: usize) -> Vec<usize> {
        let mut draws = Stream::new(self.seed, "ods-teacher").draws(self.epoch, self.step);
        (0..groups).map(|_| draws.below(teachers as u32) as usize).collect()
    }

    fn direction_weights(&self, batch: usize, classes: usize, device: &Device) -> Result<Tensor> {
        draws::uniform(self.keyed("ods"), (-1.0, 1.0), &[batch, classes], device)
    }

    fn gaussian(&self, shape: &[usize], device: &Device) -> Result<Tensor> {
        draws::normal(self.keyed("gaussian"), shape, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 12 ordered pairs of 4, a thousand draws each: a count's standard deviation is about 30.
    #[test]
    fn pairs_are_of_different_members_and_equally_likely() {
        let mut counts = [[0; 4]; 4];
        for step in 0..12_000 {
            let (a, b) = pair(&Streams { seed: 3, epoch: 1, step }, 4);
            counts[a][b] += 1;
        }
        for (a, row) in counts.iter().enumerate() {
            for (b, count) in row.iter().enumerate() {
                let expected = if a == b { 0..=0 } else { 850..=1150 };
                assert!(expected.contains(count), "({a}, {b}): {count}");
            }
        }
    }
}
