//! One run of the plan: train, keep the best network, predict, write the record.

use std::path::{Path, PathBuf};

use anyhow::Context;
use claims::Claim;
use datasets::{Loader, Splits};
use nn::{Network, NetworkSpec, Precision};
use results::record::{self, Place, Predictions};

use super::attempts::{Attempts, Moment};
use super::batches::Batches;
use super::checkpoint::{self, Checkpoints, Refused};
use super::evaluate;
use super::record::{self as written, Models};
use super::saver::Saver;
use super::seeds::run_seed;
use super::training::{Setting, Training};
use crate::config::Resolved;
use crate::device::{Chosen, peak_mib};
use crate::interrupt::Interrupted;
use crate::model;
use crate::plan::{self, Row, Run};
use crate::progress::{RunProgress, Shown, say};

/// What all runs of an experiment share.
pub struct Session<'a> {
    /// The experiment.
    pub resolved: &'a Resolved,
    /// The folder that holds the experiments' folders of records.
    pub out: &'a Path,
    /// The data.
    pub splits: &'a Splits,
    /// Where it computes.
    pub device: &'a Chosen,
    /// The command line, for the records.
    pub command: &'a str,
}

/// Trains `run` from its beginning or its last checkpoint and writes its record. Needs only the configuration, the data
/// and the finished records of its teachers. `claim` is the run's; `label` heads what is shown.
///
/// # Errors
/// A missing teacher, a checkpoint of other settings, a loss that is not finite, failures of device and disk, a signal
/// or the end of the time (after a checkpoint), a claim that another process took over.
pub fn run(session: &Session<'_>, run: &Run, claim: &Claim, label: &str) -> anyhow::Result<()> {
    let config = &session.resolved.config;
    let device = &session.device.device;
    let method = plan::method(config, run.row.method())?;
    let recipe = plan::recipe(config, run.row.method(), method.as_ref());
    let plain = model::spec(config)?.in_precision(session.device.precision);
    let seed = run_seed(run.seed, &run.row);
    let folder = session.out.join(session.resolved.folder());
    let dir = checkpoint_dir(&folder, run);
    let mut attempts = Attempts::open(&dir, run.to_string(), claims::job());
    let pad = config.data.augment.then_some(config.data.pad);
    let prepared = || {
        // Models first: what is not a teacher's need not be read as one.
        let models = written::models(&folder, run.seed, &run.needs)?;
        let teachers = teachers(session, run.seed, &run.needs, &plain)?;
        let batches = Batches::new(Loader::new(&session.splits.train, recipe.batch, seed, pad), device)?;
        let network = Network::new(&method.student(&plain, config.members), seed, device)?;
        method.prepare(&network)?;
        Ok((models, teachers, batches, network))
    };
    let (models, teachers, batches, network) =
        prepared().map_err(|error| attempts.end(Moment::Before, error))?;
    let optimiser = model::optimiser(recipe, method.as_ref(), config.members);
    let setting = Setting {
        method: method.as_ref(),
        recipe,
        optimiser,
        teachers: &teachers,
        groups: config.bn_groups,
        micro_batch: session.device.micro_batch,
        seed,
        batches,
        images: session.splits.train.len(),
        val: &session.splits.val,
        device,
    };

    let sgd = optimiser.sgd(&network);
    let mut training = Training::new(network, sgd);
    let mut inputs = written::inputs(&session.resolved.table()?, &written::data(session.splits), &run.row);
    if session.device.precision != Precision::F32 {
        inputs.insert(written::PRECISION.to_owned(), session.device.precision.to_string().into());
    }
    if let Some(most) = session.device.micro_batch.filter(|&most| most < recipe.batch) {
        inputs.insert(written::MICRO_BATCH.to_owned(), i64::try_from(most)?.into());
    }
    let checkpoints = Checkpoints::new(dir.clone(), inputs).with_teachers(models.clone());
    let moment = |training: &Training| Moment::After { epochs: training.epochs.len(), of: recipe.epochs };
    let is_resumed = checkpoints
        .restore(&mut training, device, say)
        .map_err(|error| if error.is::<Refused>() { error } else { attempts.end(Moment::Before, error) })?;
    if is_resumed {
        match training.epochs.len() {
            epochs if epochs < recipe.epochs => say(&format!("resumed {run} at epoch {}", epochs + 1)),
            _ => say(&format!("resumed {run} after its last epoch")),
        }
    }
    attempts.begin(moment(&training), training.tally.len())?;
    let shown = Shown {
        label: label.to_owned(),
        dir,
        epochs: recipe.epochs,
        steps: setting.batches.per_epoch(),
        images: setting.images,
    };
    let mut saver = Saver::new(claim, &checkpoints);
    train(&mut training, &setting, shown, &mut saver)
        .and_then(|progress| {
            let message = finish(session, run, &mut training, (&setting, &models), &saver)?;
            progress.finish(&message);
            Ok(())
        })
        .map_err(|error| attempts.end(moment(&training), error))
}

/// Trains from where `training` is to the end of the last epoch.
fn train(
    training: &mut Training,
    setting: &Setting<'_>,
    shown: Shown,
    saver: &mut Saver<'_>,
) -> anyhow::Result<RunProgress> {
    let (label, epochs, steps) = (shown.label.clone(), shown.epochs, shown.steps);
    let progress = RunProgress::new(shown, training.epochs.len() * steps + training.tally.len());
    while training.epochs.len() < epochs {
        let ended = training.epoch(setting, &progress, |training, piece| saver.before(piece, training));
        if ended.as_ref().is_err_and(|error| error.is::<Interrupted>()) {
            let (epoch, step) = (training.epochs.len() + 1, training.tally.len());
            say(&format!("{label}  stopped in epoch {epoch} of {epochs}, after step {step} of {steps}"));
        }
        ended?;
        saver.save(training)?;
    }
    Ok(progress)
}

/// Writes the record of a run whose epochs are over, and returns which epoch was kept.
fn finish(
    session: &Session<'_>,
    run: &Run,
    training: &mut Training,
    (setting, models): (&Setting<'_>, &Models),
    saver: &Saver<'_>,
) -> anyhow::Result<String> {
    let best = training.best.as_ref().context("no epoch has validated")?;
    training.network.load_state(&best.state)?;
    let epochs = setting.recipe.epochs;
    let mut message = format!("kept epoch {} of {epochs}, val {:.3}", best.epoch, best.val_acc);
    if let Some(mib) = peak_mib(setting.device) {
        message += &format!(", at most {mib} MiB of the device in use so far");
    }
    let folded = setting.method.inference(&training.network)?;
    let network = folded.as_ref().unwrap_or(&training.network);
    let batch = setting.recipe.batch;
    let predict = |data| {
        saver.has_time_for(evaluate::piece(data, batch))?;
        evaluate::predict(network, data, batch, setting.device)
    };
    let predictions =
        Predictions { val: predict(&session.splits.val)?, test: predict(&session.splits.test)? };
    let place = place(session.resolved, run)?;
    saver.end(|| {
        written::write(session, run, &place, (network, training), &predictions, models).with_context(|| {
            format!(
                "cannot write the record of {run}; its checkpoints are kept: make space or the folder \
                 writable, then start the same command again"
            )
        })
    })?;
    Ok(message)
}

/// The place of a run's record.
///
/// # Errors
/// Where the experiment's name cannot be a folder's.
pub fn place(resolved: &Resolved, run: &Run) -> anyhow::Result<Place> {
    Ok(Place::new(&resolved.experiment, &resolved.preset, &run.row.to_string(), run.seed)?)
}

/// The name of a folder of a run's [`Claim`], before the seed.
pub const CLAIM: &str = ".tmp-claim-seed-";

/// `<row>/.tmp-claim-seed-<n>`: the folder of a run's [`Claim`].
pub fn claim_dir(folder: &Path, run: &Run) -> PathBuf {
    folder.join(run.row.to_string()).join(format!("{CLAIM}{}", run.seed))
}

/// The folder of a run's checkpoints.
pub fn checkpoint_dir(folder: &Path, run: &Run) -> PathBuf {
    checkpoint::dir(folder, &run.row.to_string(), run.seed)
}

/// The teachers of `seed` in `rows`, from their records.
///
/// # Errors
/// Where a record or its model is missing or does not fit the network.
pub fn teachers(
    session: &Session<'_>,
    seed: u64,
    rows: &[Row],
    plain: &NetworkSpec,
) -> anyhow::Result<Vec<Network>> {
    let folder = session.out.join(session.resolved.folder());
    let load = |row: &Row| {
        let path = plan::run_dir(&folder, row, seed).join(record::MODEL);
        let network = Network::new(plain, 0, &session.device.device)?;
        network.load(&path)?;
        Ok(network)
    };
    rows.iter().map(load).collect()
}
