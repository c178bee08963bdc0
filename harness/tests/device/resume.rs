//! A run that is stopped at a checkpoint and goes on from it.

use std::path::Path;

use anyhow::{Context, bail};
use candle_core::{DType, Device, Tensor};
use datasets::{Loader, Splits};
use harness::config::{self, Config};
use harness::experiments::Experiment;
use harness::progress::{RunProgress, Shown};
use harness::train::batches::Batches;
use harness::train::checkpoint::Checkpoints;
use harness::train::training::{Setting, Training};
use harness::{loading, model, plan};
use libtest_mimic::Failed;
use nn::{Mode, NamedTensor, Network, NetworkSpec, Precision};

use crate::compare::{failed, same};
use crate::{opened, ways};

/// Epochs, and steps of the next one, after which a run is stopped: between two epochs, and within one.
const STOPS: [(usize, usize); 2] = [(1, 0), (1, 5)];

/// What a run leaves.
struct Left {
    state: Vec<NamedTensor>,
    momentum: Vec<f32>,
    best: Vec<NamedTensor>,
    /// Of training and validation.
    losses: Vec<f64>,
}

/// The experiment `quick` in its smallest size, on synthetic images.
struct Work<'a> {
    config: &'a Config,
    splits: &'a Splits,
    method: &'a str,
    precision: Precision,
}

impl Work<'_> {
    /// Trains from the checkpoint of `from` in `folder`, or else from the beginning, to the end or to `stop`, of which it
    /// leaves a checkpoint there.
    fn train(
        &self,
        device: &Device,
        folder: &Path,
        from: Option<(usize, usize)>,
        stop: Option<(usize, usize)>,
    ) -> anyhow::Result<Option<Left>> {
        let Self { config, splits, .. } = self;
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
        let shown = Shown {
            label: self.method.to_owned(),
            dir: folder.to_owned(),
            epochs: recipe.epochs,
            steps: setting.batches.per_epoch(),
            images: setting.images,
        };
        let progress = RunProgress::new(shown, 0);
        // A network that goes on begins as nothing of the first one's.
        let seed = if from.is_some() { 4 } else { 3 };
        let network = Network::new(&method.student(&plain, config.members), seed, device)?;
        method.prepare(&network)?;
        let sgd = optimiser.sgd(&network);
        let mut training = Training::new(network, sgd);
        let checkpoints = Checkpoints::new(folder.to_owned(), toml::Table::new());
        let found = checkpoints.restore(&mut training, device, |warning| eprintln!("{warning}"))?;
        let at = (training.epochs.len(), training.tally.len());
        anyhow::ensure!(found == from.is_some() && at == from.unwrap_or_default(), "restored at {at:?}");
        let (epochs, done) = stop.unwrap_or((recipe.epochs, 0));
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
        if stop.is_some() {
            checkpoints.save(&training)?;
            return Ok(None);
        }
        let best = training.best.as_ref().context("no epoch has validated")?;
        Ok(Some(Left {
            state: training.network.state()?,
            momentum: training.sgd.momentum()?,
            best: best.state.clone(),
            losses: training.epochs.iter().flat_map(|row| [Some(row.loss), row.val_nll]).flatten().collect(),
        }))
    }

    /// What is left of a run that begins on `device`, is stopped at `stops`, and goes on on `then` after each.
    fn run(&self, device: &Device, stops: &[(usize, usize)], then: &Device) -> Result<Left, Failed> {
        let train = || {
            let folder = tempfile::tempdir()?;
            let (mut on, mut from) = (device, None);
            for &stop in stops {
                self.train(on, folder.path(), from, Some(stop))?;
                (on, from) = (then, Some(stop));
            }
            self.train(on, folder.path(), from, None)?.context("the run did not end")
        };
        train().map_err(failed)
    }
}

/// What `check` does with a run of `method`.
fn with_work(
    method: &str,
    precision: Precision,
    check: impl FnOnce(&Work<'_>) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let experiment = Experiment::find("quick").map_err(failed)?;
    let resolved = config::resolve(&experiment, Some("smoke"), &[]).map_err(failed)?;
    let splits = loading::splits(&resolved.config.data, None).map_err(failed)?;
    check(&Work { config: &resolved.config, splits: &splits, method, precision })
}

impl Left {
    fn has_the_bits_of(&self, expected: &Self, when: &str) -> Result<(), Failed> {
        for (what, found, expected) in
            [("now", &self.state, &expected.state), ("best", &self.best, &expected.best)]
        {
            for (found, expected) in found.iter().zip(expected) {
                same(&format!("{when}, {what}, {}", expected.name), &found.values, &expected.values)?;
            }
        }
        same(&format!("{when}, momentum"), &self.momentum, &expected.momentum)?;
        if self.losses == expected.losses {
            Ok(())
        } else {
            Err(format!("{when}, losses: other bits").into())
        }
    }
}

/// The bits of an undisturbed run.
pub(crate) fn goes_on(method: &str, precision: Precision) -> Result<(), Failed> {
    with_work(method, precision, |work| {
        let device = opened()?;
        let expected = work.run(&device, &[], &device)?;
        STOPS.into_iter().try_for_each(|stop| {
            work.run(&device, &[stop], &device)?.has_the_bits_of(&expected, &format!("{stop:?}"))
        })
    })
}

/// A run keeps to the convolutions that it began with, whichever are the fastest where it goes on. A run after it does not.
pub(crate) fn keeps_its_ways(precision: Precision) -> Result<(), Failed> {
    with_work("teacher", precision, |work| {
        let here = opened()?;
        let fastest = work.run(&here, &[], &here)?;
        let mut expected = Vec::new();
        for (way, device) in ways(precision)? {
            let whole = work.run(&device, &[], &device)?;
            work.run(&device, &STOPS, &here)?.has_the_bits_of(&whole, way)?;
            expected.push(whole);
        }
        if let [library, .., own] = expected.as_slice()
            && library.has_the_bits_of(own, "").is_ok()
        {
            return Err("cuDNN's convolutions and ours have the same bits".into());
        }
        work.run(&here, &[], &here)?.has_the_bits_of(&fastest, "a run after these")
    })
}

/// A run goes on where nothing of what computed its convolutions is to be had any more: by what is.
pub(crate) fn goes_on_otherwise(precision: Precision) -> Result<(), Failed> {
    use harness::device::{set_ways, ways};
    const GONE: &str = "an engine of another cuDNN";
    with_work("teacher", precision, |work| {
        let device = opened()?;
        let folder = tempfile::tempdir().map_err(failed)?;
        let train = |from, stop| work.train(&device, folder.path(), from, stop).map_err(failed);
        train(None, Some(STOPS[0]))?;
        let mut kept = ways(&device);
        let chosen_on = kept.get("device").cloned().ok_or("the ways do not name their device")?;
        kept.values_mut().for_each(|way| GONE.clone_into(way));
        kept.insert("device".to_owned(), chosen_on);
        set_ways(&device, &kept);
        if !ways(&device).values().any(|way| way == GONE) {
            return Err("what is kept was not taken over".into());
        }
        let spec = NetworkSpec::named("resnet-8", 8, 10).map_err(failed)?.in_precision(precision);
        let pass = || -> anyhow::Result<Vec<f32>> {
            let network = Network::new(&spec, 7, &device)?;
            let images = Tensor::zeros((8, 3, 8, 8), DType::F32, &device)?;
            Ok(network.logits(&images, Mode::Train { groups: 1 })?.flatten_all()?.to_vec1()?)
        };
        let found = pass().map_err(failed)?;
        let taken = ways(&device).into_values().filter(|way| way != GONE).count();
        set_ways(&device, &harness::device::Ways::new());
        same("logits", &found, &pass().map_err(failed)?)?;
        // The device's entry is one of them.
        if taken > 1 { Ok(()) } else { Err("the pass took nothing in the place of what is gone".into()) }
    })
}
