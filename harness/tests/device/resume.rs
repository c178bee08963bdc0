//! A run that is stopped at a checkpoint and goes on from it.

use std::path::Path;

use anyhow::{Context, bail};
use candle_core::Device;
use datasets::{Loader, Splits};
use harness::config::{self, Config};
use harness::experiments::Experiment;
use harness::progress::{RunProgress, Shown};
use harness::train::batches::Batches;
use harness::train::checkpoint::Checkpoints;
use harness::train::training::{Setting, Training};
use harness::{loading, model, plan};
use libtest_mimic::Failed;
use nn::{NamedTensor, Network, Precision};

use crate::compare::{failed, same};
use crate::opened;

/// Epochs and steps of the next one after which a run is stopped: between two epochs, and within one.
const STOPS: [(usize, usize); 2] = [(1, 0), (1, 5)];

/// What a run leaves.
struct Left {
    state: Vec<NamedTensor>,
    momentum: Vec<f32>,
    best: Vec<NamedTensor>,
    losses: Vec<f32>,
}

/// The experiment `quick` in its smallest size, on synthetic images.
struct Work<'a> {
    config: &'a Config,
    splits: &'a Splits,
    method: &'a str,
    precision: Precision,
    device: &'a Device,
}

impl Work<'_> {
    /// Trains, with an end at `stop` and a beginning from the checkpoint in `folder` that was written then.
    fn train(&self, stop: Option<(usize, usize)>, folder: &Path) -> anyhow::Result<Left> {
        let Self { config, splits, device, .. } = self;
        let method = plan::method(config, self.method)?;
        let recipe = plan::recipe(config, self.method, method.as_ref());
        let plain = model::spec(config)?.in_precision(self.precision);
        let count = if method.uses_teachers() { config.members as u64 } else { 0 };
        let teachers =
            (0..count).map(|n| Network::new(&plain, 100 + n, device)).collect::<nn::Result<Vec<_>>>()?;
        let optimiser = model::optimiser(recipe, method.as_ref(), config.members);
        let setting = Setting {
            method: method.as_ref(),
            recipe,
            optimiser,
            teachers: &teachers,
            groups: config.bn_groups,
            micro_batch: None,
            seed: 3,
            batches: Batches::new(
                Loader::new(&splits.train, recipe.batch, 3, Some(config.data.pad)),
                device,
            )?,
            images: splits.train.len(),
            val: &splits.val,
            device,
        };
        let begin = |seed: u64| -> anyhow::Result<Training> {
            let network = Network::new(&method.student(&plain, config.members), seed, device)?;
            method.prepare(&network)?;
            let sgd = optimiser.sgd(&network);
            Ok(Training::new(network, sgd))
        };
        let steps = setting.batches.per_epoch();
        let shown = Shown {
            label: self.method.to_owned(),
            dir: folder.to_owned(),
            epochs: recipe.epochs,
            steps,
            images: setting.images,
        };
        let progress = RunProgress::new(shown, 0);
        let mut training = begin(3)?;
        if let Some((epochs, done)) = stop {
            while training.epochs.len() < epochs {
                training.epoch(&setting, &progress, |_, _| Ok(()))?;
            }
            if done > 0 {
                let stopped = training.epoch(&setting, &progress, |training, _| {
                    if training.tally.len() == done { bail!("stopped") } else { Ok(()) }
                });
                let error = stopped.err().context("the epoch was not stopped")?;
                anyhow::ensure!(error.to_string() == "stopped", error);
            }
            let checkpoints = Checkpoints::new(folder.to_owned(), toml::Table::new());
            checkpoints.save(&training)?;
            // A network that is nothing of the first one's.
            training = begin(4)?;
            let found = checkpoints.restore(&mut training, device, |warning| eprintln!("{warning}"))?;
            let at = (training.epochs.len(), training.tally.len());
            anyhow::ensure!(found && at == (epochs, done), "restored at {at:?}");
        }
        while training.epochs.len() < recipe.epochs {
            training.epoch(&setting, &progress, |_, _| Ok(()))?;
        }
        let best = training.best.as_ref().context("no epoch has validated")?;
        Ok(Left {
            state: training.network.state()?,
            momentum: training.sgd.momentum()?,
            best: best.state.clone(),
            losses: training.epochs.iter().map(|row| row.loss as f32).collect(),
        })
    }
}

/// The bits of an undisturbed run.
pub(crate) fn goes_on(method: &str, precision: Precision) -> Result<(), Failed> {
    let device = opened()?;
    let experiment = Experiment::find("quick").map_err(failed)?;
    let resolved = config::resolve(&experiment, Some("smoke"), &[]).map_err(failed)?;
    let splits = loading::splits(&resolved.config.data, None).map_err(failed)?;
    let work = Work { config: &resolved.config, splits: &splits, method, precision, device: &device };
    let train = |stop| {
        let folder = tempfile::tempdir()?;
        work.train(stop, folder.path())
    };
    let expected = train(None).map_err(failed)?;
    for stop in STOPS {
        let found = train(Some(stop)).map_err(failed)?;
        for (what, found, expected) in
            [("now", &found.state, &expected.state), ("best", &found.best, &expected.best)]
        {
            for (found, expected) in found.iter().zip(expected) {
                same(&format!("{stop:?}, {what}, {}", expected.name), &found.values, &expected.values)?;
            }
        }
        same("momentum", &found.momentum, &expected.momentum)?;
        same("losses", &found.losses, &expected.losses)?;
    }
    Ok(())
}
