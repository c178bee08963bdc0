//! The random draws of a step.

use candle_core::{Device, Tensor};
use nn::draws::{self, Keyed};
use nn::{Error, Result};
use random::{Draws, Stream};

/// Source of a method's randomness, by names that the method gives its draws: the same name gives the same draws in all of a step,
/// another name draws that are independent of them. Use a name with one of the functions only: they share its stream. A trait, so
/// that a test can hand in recorded draws, and a piece of a batch those of its own images.
pub trait Noise {
    /// Draws for the whole batch, whichever piece of it asks.
    fn draws(&self, name: &str) -> Draws;

    /// For each of the batch's `groups` batch-norm groups an index below `count`, uniform.
    fn indices(&self, name: &str, groups: usize, count: usize) -> Vec<usize>;

    /// U(low, high), of the given shape, whose first dimension is the batch.
    ///
    /// # Errors
    /// Where the device has no memory.
    fn uniform(&self, name: &str, range: (f32, f32), shape: &[usize], device: &Device) -> Result<Tensor>;

    /// N(0, 1), of the given shape, whose first dimension is the batch.
    ///
    /// # Errors
    /// Where the device has no memory.
    fn normal(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor>;
}

/// The draws of `noise` under other names, for what draws by itself a second time in a step: with the name `second`, `second/ods`
/// where `ods` is asked for.
#[derive(Clone, Copy)]
pub struct Under<'a> {
    /// Where the draws come from.
    pub noise: &'a dyn Noise,
    /// What comes before every name.
    pub name: &'a str,
}

impl Under<'_> {
    fn of(&self, name: &str) -> String {
        format!("{}/{name}", self.name)
    }
}

impl Noise for Under<'_> {
    fn draws(&self, name: &str) -> Draws {
        self.noise.draws(&self.of(name))
    }

    fn indices(&self, name: &str, groups: usize, count: usize) -> Vec<usize> {
        self.noise.indices(&self.of(name), groups, count)
    }

    fn uniform(&self, name: &str, range: (f32, f32), shape: &[usize], device: &Device) -> Result<Tensor> {
        self.noise.uniform(&self.of(name), range, shape, device)
    }

    fn normal(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        self.noise.normal(&self.of(name), shape, device)
    }
}

/// Two different members below `members` (at least 2) for the whole batch, every ordered pair as likely. They come from the stream
/// that chooses ODS's teachers, so a method that calls both gets draws that are not independent.
///
/// # Errors
/// [`Error::State`] where there are no two.
pub fn pair(noise: &dyn Noise, members: usize) -> Result<(usize, usize)> {
    if members < 2 {
        return Err(Error::State(format!("a pair of {members} members: there must be at least 2")));
    }
    let pairs = members * (members - 1);
    let index = noise.draws("ods-teacher").below(pairs as u32) as usize;
    let (first, second) = (index / (members - 1), index % (members - 1));
    Ok((first, if second >= first { second + 1 } else { second }))
}

/// Draws from the counter-based streams of those names, keyed by (seed, epoch, step, row): they depend on nothing else, so a
/// resumed run and another number of threads see the same.
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
    fn keyed(&self, name: &str) -> Keyed {
        Keyed { stream: Stream::new(self.seed, name), epoch: self.epoch, first: self.step << 32 }
    }
}

impl Noise for Streams {
    fn draws(&self, name: &str) -> Draws {
        Stream::new(self.seed, name).draws(self.epoch, self.step)
    }

    fn indices(&self, name: &str, groups: usize, count: usize) -> Vec<usize> {
        let mut draws = self.draws(name);
        (0..groups).map(|_| draws.below(count as u32) as usize).collect()
    }

    fn uniform(&self, name: &str, range: (f32, f32), shape: &[usize], device: &Device) -> Result<Tensor> {
        draws::uniform(self.keyed(name), range, shape, device)
    }

    fn normal(&self, name: &str, shape: &[usize], device: &Device) -> Result<Tensor> {
        draws::normal(self.keyed(name), shape, device)
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
            let (a, b) = pair(&Streams { seed: 3, epoch: 1, step }, 4).unwrap();
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
