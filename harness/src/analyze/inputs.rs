//! Training images as the analyses see them: clean, and perturbed by a seed's teachers.

use candle_core::Tensor;
use methods::be_kd_ods::BeKdOds;
use methods::perturb::{Context, Perturbation};
use methods::{Batch, Streams};
use nn::Network;
use random::Stream;
use results::analysis::Set;

use super::perturbations::{self, Perturbing};
use crate::config::Config;
use crate::interrupt;
use crate::train::evaluate;
use crate::train::run::Session;

/// The most training images that are looked at. More are thinned out evenly.
pub const TRAIN_IMAGES: usize = 30_000;

/// The perturbations of an experiment's methods, with their temperatures and steps.
pub struct Inputs<'a> {
    session: &'a Session<'a>,
    teachers: &'a [Network],
    perturbations: Vec<Perturbing>,
    /// The one whose transfer between teachers is measured.
    ods: BeKdOds,
    /// The training images that are looked at.
    rows: Vec<usize>,
    noise_seed: u64,
}

impl<'a> Inputs<'a> {
    /// The images of `session`, perturbed by `teachers` of `seed`.
    ///
    /// # Errors
    /// Where the experiment's settings of a perturbation cannot be read.
    pub fn new(session: &'a Session<'a>, teachers: &'a [Network], seed: u64) -> anyhow::Result<Self> {
        let config = &session.resolved.config;
        Ok(Self {
            session,
            teachers,
            perturbations: perturbations::of(config)?,
            ods: perturbations::ods(config)?,
            rows: spread(session.splits.train.len(), TRAIN_IMAGES),
            noise_seed: Stream::new(seed, "train-kld").draws(0, 0).next_u64(),
        })
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.rows.len()
    }

    /// Calls `f` with each batch of clean images, as large as a teacher's, and its number.
    ///
    /// # Errors
    /// Those of `f`; failures of the device; a signal.
    pub fn for_each_batch(&self, mut f: impl FnMut(u64, &Batch) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let device = &self.session.device.device;
        let train = &self.session.splits.train;
        let mut rounds = interrupt::Rounds::new();
        for (step, rows) in self.rows.chunks(self.config().teacher.batch).enumerate() {
            rounds.again()?;
            let labels: Vec<u32> = rows.iter().map(|&row| train.labels[row]).collect();
            let batch = Batch {
                images: evaluate::gather(train, rows, device)?,
                labels: Tensor::from_vec(labels, rows.len(), device)?,
            };
            f(step as u64, &batch)?;
        }
        Ok(())
    }

    /// The images of `batch`, number `step`, as each set: clean, and perturbed as in training.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn sets(&self, step: u64, batch: &Batch) -> anyhow::Result<Vec<(&Set, Tensor)>> {
        let mut sets = vec![(&Set::Clean, batch.images.clone())];
        for Perturbing { set, method } in &self.perturbations {
            if let Some(by) = method.perturbation() {
                sets.push((set, self.perturb(by, self.teachers, step, batch)?));
            }
        }
        Ok(sets)
    }

    /// The images of `batch`, number `step`, under ODS that `teacher` makes.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn ods_by(&self, teacher: usize, step: u64, batch: &Batch) -> anyhow::Result<Tensor> {
        Ok(self.perturb(&self.ods, &self.teachers[teacher..=teacher], step, batch)?)
    }

    /// As in training one teacher perturbs each batch-norm group of a batch.
    fn perturb(
        &self,
        by: &dyn Perturbation,
        teachers: &[Network],
        step: u64,
        batch: &Batch,
    ) -> nn::Result<Tensor> {
        let noise = Streams { seed: self.noise_seed, epoch: 0, step };
        let groups = self.config().bn_groups;
        by.perturb(batch, &Context { teachers, groups, noise: &noise, progress: 1.0 })
    }

    fn config(&self) -> &Config {
        &self.session.resolved.config
    }
}

/// At most `most` of `count` rows, evenly spread, ascending.
pub fn spread(count: usize, most: usize) -> Vec<usize> {
    if count <= most { (0..count).collect() } else { (0..most).map(|index| index * count / most).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_spread_evenly() {
        assert_eq!(spread(3, 5), [0, 1, 2]);
        assert_eq!(spread(10, 5), [0, 2, 4, 6, 8]);
        assert_eq!(spread(7, 3), [0, 2, 4]);
    }
}
