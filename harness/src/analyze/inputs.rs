//! Training images as the analyses see them: clean, and perturbed by a seed's teachers.

use candle_core::Tensor;
use methods::Streams;
use methods::be_kd_conf_ods::BeKdConfOds;
use methods::be_kd_gaussian::BeKdGaussian;
use methods::be_kd_ods::BeKdOds;
use methods::perturb::{Directions, gaussian, ods};
use nn::Network;
use random::Stream;
use results::analysis::Set;

use crate::config::Config;
use crate::interrupt;
use crate::train::evaluate;
use crate::train::run::Session;

/// The most training images that are looked at. More are thinned out evenly.
pub const TRAIN_IMAGES: usize = 30_000;

/// The methods by whose settings images are perturbed, whatever is trained.
pub const PERTURBATIONS: [&str; 3] = ["be-kd-gaussian", "be-kd-ods", "be-kd-conf-ods"];

/// The perturbations of an experiment's methods, with their temperatures and steps.
pub struct Inputs<'a> {
    session: &'a Session<'a>,
    teachers: &'a [Network],
    gaussian: BeKdGaussian,
    ods: BeKdOds,
    conf_ods: BeKdConfOds,
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
        let [gaussian, ods, conf_ods] =
            PERTURBATIONS.map(|name| config.method.get(name).cloned().unwrap_or_default());
        Ok(Self {
            session,
            teachers,
            gaussian: gaussian.try_into()?,
            ods: ods.try_into()?,
            conf_ods: conf_ods.try_into()?,
            rows: spread(session.splits.train.len(), TRAIN_IMAGES),
            noise_seed: Stream::new(seed, "train-kld").draws(0, 0).next_u64(),
        })
    }

    /// How many images there are.
    pub fn images(&self) -> usize {
        self.rows.len()
    }

    /// Calls `f` with each batch (B, C, H, W) of clean images, as large as a teacher's, and its number.
    ///
    /// # Errors
    /// Those of `f`; failures of the device; a signal.
    pub fn for_each_batch(
        &self,
        mut f: impl FnMut(u64, &Tensor) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let device = &self.session.device.device;
        let mut rounds = interrupt::Rounds::new();
        for (step, rows) in self.rows.chunks(self.config().teacher.batch).enumerate() {
            rounds.again()?;
            f(step as u64, &evaluate::gather(&self.session.splits.train, rows, device)?)?;
        }
        Ok(())
    }

    /// Batch `step` of `images` as each of [`Set::ALL`]: clean and perturbed. As in training one teacher perturbs each
    /// batch-norm group of a batch.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn sets(&self, step: u64, images: &Tensor) -> anyhow::Result<[(Set, Tensor); 4]> {
        let noise = self.noise(step);
        let by_ods = self.directions(self.teachers, step, images, self.ods.tau)?;
        let by_conf_ods = if self.conf_ods.tau == self.ods.tau {
            by_ods.clone()
        } else {
            self.directions(self.teachers, step, images, self.conf_ods.tau)?
        };
        Ok([
            (Set::Clean, images.clone()),
            (Set::Gaussian, gaussian(images, &noise, self.gaussian.eta)?),
            (Set::Ods, by_ods.perturb(self.ods.eta)?),
            (Set::ConfOds, by_conf_ods.perturb_by_confidence(self.conf_ods.eta)?),
        ])
    }

    /// Batch `step` of `images` under ODS that `teacher` makes.
    ///
    /// # Errors
    /// Failures of the device.
    pub fn ods_by(&self, teacher: usize, step: u64, images: &Tensor) -> anyhow::Result<Tensor> {
        let teacher = &self.teachers[teacher..=teacher];
        Ok(self.directions(teacher, step, images, self.ods.tau)?.perturb(self.ods.eta)?)
    }

    fn directions(
        &self,
        teachers: &[Network],
        step: u64,
        images: &Tensor,
        tau: f64,
    ) -> nn::Result<Directions> {
        ods(teachers, images, &self.noise(step), self.config().bn_groups, tau)
    }

    fn noise(&self, step: u64) -> Streams {
        Streams { seed: self.noise_seed, epoch: 0, step }
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
