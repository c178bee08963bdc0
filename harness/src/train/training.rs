//! A network in training: epochs of steps, and the best network so far.
//!
//! All state is here, so that a [`checkpoint`](super::checkpoint) is this struct written down. Random draws are functions
//! of (seed, epoch, step), so none of their state is.

use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use candle_core::Device;
use datasets::Dataset;
use methods::{Method, Optimiser, Step, Streams, micro_batch};
use metrics::Probs;
use nn::{NamedTensor, Network, Sgd};
use results::record::{EpochRow, Split, TimingRow};

use super::batches::Batches;
use super::evaluate;
use super::pace::Piece;
use super::tally::Tally;
use crate::config::RecipeConfig;
use crate::progress::RunProgress;

/// What stays the same throughout a run.
pub struct Setting<'a> {
    /// The row's method.
    pub method: &'a dyn Method,
    /// How it trains.
    pub recipe: &'a RecipeConfig,
    /// Its base rates.
    pub optimiser: Optimiser,
    /// The teachers, in the order of the subnetworks; empty where the method needs none.
    pub teachers: &'a [Network],
    /// Batch-norm groups.
    pub groups: usize,
    /// The most images of a pass; `None` takes a batch as it is.
    pub micro_batch: Option<usize>,
    /// The run's seed.
    pub seed: u64,
    /// Batches of training images.
    pub batches: Batches<'a>,
    /// How many there are.
    pub images: usize,
    /// Images that choose the model.
    pub val: &'a Dataset,
    /// Where it computes.
    pub device: &'a Device,
}

/// The network that validated best so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Best {
    /// The epoch after which it was validated.
    pub epoch: usize,
    /// Its validation accuracy.
    pub val_acc: f64,
    /// Its parameters and running statistics.
    pub state: Vec<NamedTensor>,
}

/// A network between two steps.
pub struct Training {
    /// The network as it is now.
    pub network: Network,
    /// The optimiser with its momentum.
    pub sgd: Sgd,
    /// The best network so far; there is one once the first epoch is over.
    pub best: Option<Best>,
    /// One row per finished epoch.
    pub epochs: Vec<EpochRow>,
    /// The time that each took.
    pub timing: Vec<TimingRow>,
    /// The steps of the epoch in progress.
    pub tally: Tally,
    /// The time that they took.
    pub spent: Duration,
}

impl Training {
    /// A network before its first epoch.
    pub fn new(network: Network, sgd: Sgd) -> Self {
        let (tally, spent) = (Tally::default(), Duration::ZERO);
        Self { network, sgd, best: None, epochs: Vec::new(), timing: Vec::new(), tally, spent }
    }

    /// Some network before its first epoch.
    #[cfg(test)]
    pub(crate) fn small() -> Self {
        let spec = nn::NetworkSpec::named("resnet-8", 8, 10).unwrap();
        let network = Network::new(&spec, 1, &Device::Cpu).unwrap();
        let settings =
            nn::SgdSettings { momentum: 0.9, weight_decay: 0.0, weight_decay_fast: 0.0, nesterov: false };
        let sgd = Sgd::new(&network, settings);
        Self::new(network, sgd)
    }

    /// Trains one more epoch, or the rest of the one in progress, and validates where the recipe says so. `between` is
    /// called before each step and before the validation, and ends the epoch there with its error.
    ///
    /// # Errors
    /// A loss that is not finite (epoch, step, rate, loss parts and layer), what `between` returns, and failures of the
    /// device.
    pub fn epoch(
        &mut self,
        setting: &Setting<'_>,
        progress: &RunProgress,
        mut between: impl FnMut(&Self, Piece) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut start = Instant::now();
        let epoch = self.epochs.len() + 1;
        let recipe = setting.recipe;
        let steps = setting.batches.per_epoch();
        let rates = |step: usize| {
            let factor = recipe.schedule.factor(epoch, step as f64 / steps as f64);
            (setting.optimiser.lr * factor, setting.optimiser.lr_fast * factor)
        };
        // A GPU must not wait for the host; on a CPU the loss is there already.
        let reads_losses = setting.device.is_cpu();
        let done = self.tally.len();
        for (index, batch) in (done..).zip(setting.batches.epoch(epoch as u32, done)?) {
            self.spent += start.elapsed();
            start = Instant::now();
            between(self, Piece::Step)?;
            let batch = batch?;
            let noise = Streams { seed: setting.seed, epoch: epoch as u32, step: index as u64 };
            let (teachers, groups) = (setting.teachers, setting.groups);
            let epochs = (epoch - 1) as f64 + index as f64 / steps as f64;
            let over = epochs / recipe.epochs as f64;
            let step = Step { student: &self.network, teachers, groups, noise: &noise, progress: over };
            let (loss, gradient) = micro_batch::gradient(setting.method, &batch, &step, setting.micro_batch)?;
            let (lr, lr_fast) = rates(index);
            self.tally.add(&loss, &batch.labels)?;
            if reads_losses {
                self.tally.check_last(epoch, lr).map_err(|error| self.with_layer(error))?;
            }
            self.sgd.apply(&self.network, &gradient, lr, lr_fast)?;
            progress.step();
        }
        let (lr, _) = rates(steps.saturating_sub(1));
        let means = self.tally.read(epoch, lr).map_err(|error| self.with_layer(error))?;
        if let Some(fault) = self.not_finite()? {
            return Err(anyhow!(
                "{fault} after epoch {epoch}, rate {lr}; lower the rate (teacher.lr, student.lr, recipe.<method>.lr)"
            ));
        }
        let seconds = (self.spent + start.elapsed()).as_secs_f64();
        let validation = if recipe.validates(epoch) {
            between(self, evaluate::piece(setting.val, recipe.batch))?;
            let why = || format!("validation after epoch {epoch}, rate {lr}");
            Some(self.validate(setting, epoch).with_context(why)?)
        } else {
            None
        };
        let row = EpochRow {
            epoch: epoch as u32,
            lr,
            loss: means.loss,
            ce: Some(means.ce),
            kd: means.kd,
            train_acc: means.train_acc,
            val_acc: validation.map(|(acc, _)| acc),
            val_nll: validation.map(|(_, nll)| nll),
        };
        let images_per_s = setting.images as f64 / seconds;
        progress.epoch(&row, images_per_s);
        self.epochs.push(row);
        self.timing.push(TimingRow { epoch: epoch as u32, seconds, images_per_s });
        (self.tally, self.spent) = (Tally::default(), Duration::ZERO);
        Ok(())
    }

    /// `error`, a loss that is not finite, with the first layer that it shows in.
    fn with_layer(&self, error: anyhow::Error) -> anyhow::Error {
        match self.not_finite() {
            Ok(Some(fault)) => anyhow!("{error}; {fault}"),
            Ok(None) => {
                anyhow!("{error}; all parameters and running statistics are finite: only the loss is not")
            }
            Err(failure) => failure.context(error),
        }
    }

    /// The first tensor of the network, in the order of its layers, that has a value that is not finite.
    fn not_finite(&self) -> anyhow::Result<Option<String>> {
        let state = self.network.state()?;
        let first = state.iter().find(|tensor| tensor.values.iter().any(|value| !value.is_finite()));
        Ok(first.map(|tensor| {
            let count = tensor.values.iter().filter(|value| !value.is_finite()).count();
            let (all, name) = (tensor.values.len(), &tensor.name);
            format!("the first layer that is not finite is `{name}` ({count} of its {all} values)")
        }))
    }

    /// Validation accuracy and NLL of the network that predicts, over the M*N rows of all subnetworks, each on its own; keeps the network where the
    /// accuracy is above all earlier ones.
    fn validate(&mut self, setting: &Setting<'_>, epoch: usize) -> anyhow::Result<(f64, f64)> {
        let folded = setting.method.inference(&self.network)?;
        let network = folded.as_ref().unwrap_or(&self.network);
        let Split { logits, labels, m, n, k } =
            evaluate::predict(network, setting.val, setting.recipe.batch, setting.device)?;
        let labels = labels.repeat(m);
        // Member-major logits of M members are those of one member on M*N rows.
        let rows = Probs::mean_of_members(&logits, 1, m * n, k)?;
        let (acc, nll) = (metrics::acc(&rows, &labels)?, metrics::nll(&rows, &labels)?);
        if self.best.as_ref().is_none_or(|best| acc > best.val_acc) {
            self.best = Some(Best { epoch, val_acc: acc, state: self.network.state()? });
        }
        Ok((acc, nll))
    }
}
