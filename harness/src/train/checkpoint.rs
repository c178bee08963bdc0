//! Everything that an interrupted run needs to go on, in one safetensors file: one after each epoch, and some within.
//!
//! Tensors: `model.<name>` and `best.<name>` (parameters and running statistics, now and at the best epoch) and
//! `momentum`. The header's entry `state` is `State` as TOML, `sha256` covers tensors and state. Random streams have
//! no state: every draw is a function of seed, epoch and step.
//!
//! Files are written under a temporary name, flushed and renamed. The last two are kept; a damaged one is set aside, for
//! its name would count among these two.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use candle_core::Device;
use nn::NamedTensor;
use results::record::{EpochRow, TimingRow};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::{Models, REVISION, short};
use super::tally::{HostTally, Tally};
use super::training::{Best, Training};
use crate::device::{self, Ways};
use crate::{config, whole_file};

/// Checkpoints of a run that are kept.
const KEPT: usize = 2;

/// Follows the name of a damaged checkpoint, which is none any more.
pub const ASIDE: &str = ".damaged";

/// The name of a folder of checkpoints, before the seed.
pub const DIR: &str = ".tmp-checkpoints-seed-";

/// `<folder>/<row>/.tmp-checkpoints-seed-<n>`: beside the record of a run, so that the record appears in one rename.
pub fn dir(folder: &Path, row: &str, seed: u64) -> PathBuf {
    folder.join(row).join(format!("{DIR}{seed}"))
}

/// Whether a checkpoint has such a name.
pub fn is_name(name: &str) -> bool {
    name.starts_with("epoch-") && name.ends_with(".safetensors")
}

/// The newest undamaged checkpoint in `dir`, where there is one.
///
/// # Errors
/// Where the folder or a checkpoint cannot be read.
pub fn newest(dir: &Path) -> anyhow::Result<Option<PathBuf>> {
    Ok(newest_whole(dir)?.map(|(path, _)| path))
}

/// What the run depends on whose checkpoints are in `dir` (as [`Checkpoints::new`]), from the newest undamaged one. `None`
/// where there is none.
///
/// # Errors
/// Where the folder or a checkpoint cannot be read.
pub fn inputs(dir: &Path) -> anyhow::Result<Option<toml::Table>> {
    Ok(newest_whole(dir)?.map(|(_, state)| state.inputs))
}

/// The newest checkpoint in `dir` that is not damaged.
fn newest_whole(dir: &Path) -> anyhow::Result<Option<(PathBuf, State)>> {
    for path in files(dir)?.into_iter().rev() {
        let Some(encoded) = read(&path)? else { continue };
        if let Ok((state, _)) = decode(&encoded) {
            return Ok(Some((path, state)));
        }
    }
    Ok(None)
}

/// What the run of a checkpoint of this content depends on.
///
/// # Errors
/// Where it is damaged.
pub fn inputs_of(encoded: &[u8]) -> anyhow::Result<toml::Table> {
    Ok(decode(encoded)?.0.inputs)
}

/// A run was begun with other inputs than it is to go on with.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

/// The part of a checkpoint that is not tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// Absent before the first epoch is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    best: Option<BestState>,
    /// The epoch in progress; absent between epochs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partial: Option<Partial>,
    /// The program that wrote it; absent in those of earlier versions.
    #[serde(default)]
    revision: String,
    /// What the run's outcome depends on: its configuration and the hashes of its data.
    inputs: toml::Table,
    /// The models of the teachers that it learns from, by their hashes; absent in those of earlier versions.
    #[serde(default, skip_serializing_if = "Models::is_empty")]
    teachers: Models,
    /// How its convolutions are computed on a CUDA device, for the next process that goes on with it on such a device.
    #[serde(default, skip_serializing_if = "Ways::is_empty")]
    convolutions: Ways,
    #[serde(default)]
    epochs: Vec<EpochRow>,
    #[serde(default)]
    timing: Vec<TimingRow>,
}

/// The part of [`Best`] that is not tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BestState {
    epoch: usize,
    val_acc: f64,
}

/// The steps of an epoch so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Partial {
    seconds: f64,
    tally: HostTally,
}

/// The checkpoints of one run, in a folder of their own beside its record.
pub struct Checkpoints {
    dir: PathBuf,
    inputs: toml::Table,
    teachers: Models,
    revision: &'static str,
}

impl Checkpoints {
    /// The checkpoints in `dir` of a run that depends on `inputs`.
    pub fn new(dir: PathBuf, inputs: toml::Table) -> Self {
        Self { dir, inputs, teachers: Models::new(), revision: REVISION }
    }

    /// The same of a run that learns from `teachers`.
    pub fn with_teachers(self, teachers: Models) -> Self {
        Self { teachers, ..self }
    }

    /// Writes the state after the last step.
    ///
    /// # Errors
    /// Where the folder or file cannot be written; earlier checkpoints stay as they are.
    pub fn save(&self, training: &Training) -> anyhow::Result<()> {
        let best = training.best.as_ref();
        let partial = || -> anyhow::Result<Partial> {
            Ok(Partial { seconds: training.spent.as_secs_f64(), tally: training.tally.to_host()? })
        };
        let state = State {
            best: best.map(|best| BestState { epoch: best.epoch, val_acc: best.val_acc }),
            partial: (!training.tally.is_empty()).then(partial).transpose()?,
            revision: self.revision.to_owned(),
            inputs: self.inputs.clone(),
            teachers: self.teachers.clone(),
            convolutions: device::ways(training.network.device()),
            epochs: training.epochs.clone(),
            timing: training.timing.clone(),
        };
        let state = toml::to_string(&state)?;
        let model = training.network.state()?;
        let momentum = training.sgd.momentum()?;
        let tensor = |prefix: &str, t: &NamedTensor| {
            (format!("{prefix}.{}", t.name), t.shape.clone(), bytes(&t.values))
        };
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> =
            model.iter().map(|t| tensor("model", t)).collect();
        tensors.extend(best.iter().flat_map(|best| &best.state).map(|t| tensor("best", t)));
        tensors.push(("momentum".to_owned(), vec![momentum.len()], bytes(&momentum)));
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        let views: Vec<(&str, TensorView<'_>)> = tensors
            .iter()
            .map(|(name, shape, data)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), data)?)))
            .collect::<Result<_, safetensors::SafeTensorError>>()?;
        let digest = digest(&state, tensors.iter().map(|(name, _, data)| (name.as_str(), data.as_slice())));
        let header = HashMap::from([("state".to_owned(), state), ("sha256".to_owned(), digest)]);
        let encoded = safetensors::serialize(views, Some(header))?;

        let (epoch, step) = (training.epochs.len(), training.tally.len());
        let path = self.dir.join(format!("epoch-{epoch:06}-step-{step:08}.safetensors"));
        // Always the same draft: what a killed process left is written over.
        whole_file::write_by(&self.dir.join(".tmp-checkpoint"), &path, &encoded).context(
            "earlier checkpoints are kept: make space or the folder writable, then start the same command again",
        )?;
        let all = files(&self.dir)?;
        for old in all.iter().rev().skip(KEPT) {
            fs::remove_file(old).with_context(|| format!("cannot remove {}", old.display()))?;
        }
        Ok(())
    }

    /// Puts `training`, whose network is on `device` and has not passed, where the newest undamaged checkpoint left off.
    /// `false` where there is none; damaged ones get the ending [`ASIDE`], of which `warn` is told, as of one that another version of
    /// the program wrote.
    ///
    /// # Errors
    /// [`Refused`] where the run was begun with another configuration or other data: the differences. Where a checkpoint cannot
    /// be read, which says nothing about what it holds, or a damaged one cannot be renamed.
    pub fn restore(
        &self,
        training: &mut Training,
        device: &Device,
        warn: impl Fn(&str),
    ) -> anyhow::Result<bool> {
        for path in files(&self.dir)?.iter().rev() {
            let Some(encoded) = read(path)? else { continue };
            let (state, mut tensors) = match decode(&encoded) {
                Ok(whole) => whole,
                Err(error) => {
                    warn(&format!(
                        "checkpoint {} is damaged ({error:#}): set aside as *{ASIDE}; trying the one before",
                        path.display()
                    ));
                    set_aside(path)?;
                    continue;
                }
            };
            let differences = config::differences(&state.inputs, &self.inputs);
            if !differences.is_empty() {
                bail!(Refused(format!(
                    "{} was begun with other settings or data; restore them, name another --out, or delete the folder:\n  {}",
                    self.dir.display(),
                    differences.join("\n  ")
                )));
            }
            if !state.teachers.is_empty() && state.teachers != self.teachers {
                bail!(Refused(format!(
                    "{} was begun with other teachers than those that are there now; restore them, or delete the folder",
                    self.dir.display()
                )));
            }
            if !state.revision.is_empty() && state.revision != self.revision {
                warn(&format!(
                    "{} was begun by another version of divkd ({}; this is {}): delete the folder if a method or the training \
                     has changed since",
                    self.dir.display(),
                    short(&state.revision),
                    short(self.revision)
                ));
            }
            device::set_ways(device, &state.convolutions);
            let now = training.network.state()?;
            training.network.load_state(&take(&mut tensors, "model", &now)?)?;
            training.sgd.load_momentum(&tensors.remove("momentum").context("no tensor `momentum`")?)?;
            training.best = match state.best {
                Some(BestState { epoch, val_acc }) => {
                    Some(Best { epoch, val_acc, state: take(&mut tensors, "best", &now)? })
                }
                None => None,
            };
            if let Some(Partial { seconds, tally }) = &state.partial {
                training.tally = Tally::from_host(tally, device)?;
                training.spent = Duration::try_from_secs_f64(*seconds)?;
            }
            training.epochs = state.epochs;
            training.timing = state.timing;
            return Ok(true);
        }
        device::set_ways(device, &Ways::new());
        Ok(false)
    }

    /// Removes all checkpoints: the run has its record.
    pub fn remove(&self) -> anyhow::Result<()> {
        match fs::remove_dir_all(&self.dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.dir.display()))
            }
            _ => Ok(()),
        }
    }
}

/// The checkpoints in `dir`, oldest first.
fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", dir.display()))?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if is_name(&path.file_name().unwrap_or_default().to_string_lossy()) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn set_aside(path: &Path) -> anyhow::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(ASIDE);
    fs::rename(path, aside).with_context(|| format!("cannot set {} aside: remove it", path.display()))
}

type Tensors = BTreeMap<String, Vec<f32>>;

/// What is in a checkpoint; nothing where it is gone.
fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        encoded => {
            encoded.map(Some).with_context(|| format!("cannot read the checkpoint {}", path.display()))
        }
    }
}

fn decode(encoded: &[u8]) -> anyhow::Result<(State, Tensors)> {
    let (_, header) = SafeTensors::read_metadata(encoded)?;
    let header = header.metadata().as_ref().context("no state")?;
    let entry = |name: &str| header.get(name).with_context(|| format!("no `{name}`"));
    let tensors = SafeTensors::deserialize(encoded)?;
    let mut views = tensors.tensors();
    views.sort_by(|a, b| a.0.cmp(&b.0));
    let found = digest(entry("state")?, views.iter().map(|(name, view)| (name.as_str(), view.data())));
    ensure!(found == *entry("sha256")?, "its hash does not fit");
    let state: State = toml::from_str(entry("state")?)?;
    let mut values = Tensors::new();
    for (name, view) in views {
        ensure!(view.dtype() == Dtype::F32, "tensor `{name}` is not f32");
        values.insert(name, view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect());
    }
    Ok((state, values))
}

/// The tensors `<prefix>.<name>` for the names and shapes of `like`.
fn take(tensors: &mut Tensors, prefix: &str, like: &[NamedTensor]) -> anyhow::Result<Vec<NamedTensor>> {
    let take = |t: &NamedTensor| {
        let name = format!("{prefix}.{}", t.name);
        let values =
            tensors.remove(&name).with_context(|| format!("no tensor `{name}` in the checkpoint"))?;
        ensure!(
            values.len() == t.values.len(),
            "tensor `{name}` has {} values, not {}",
            values.len(),
            t.values.len()
        );
        Ok(NamedTensor { name: t.name.clone(), shape: t.shape.clone(), values })
    };
    like.iter().map(take).collect()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn digest<'a>(state: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut hash = Sha256::new();
    hash.update(state);
    for (name, data) in tensors {
        hash.update(name);
        hash.update(data);
    }
    format!("{:x}", hash.finalize())
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A disk that fails, as opening a folder as a file does, is not damage: the checkpoint may be whole.
    #[test]
    fn a_checkpoint_that_cannot_be_read_stays() {
        let folder = tempfile::tempdir().unwrap();
        let checkpoints = Checkpoints::new(folder.path().to_owned(), toml::Table::new());
        checkpoints.save(&Training::small()).unwrap();
        let newest = folder.path().join("epoch-000009-step-00000000.safetensors");
        fs::create_dir(&newest).unwrap();
        let restored = checkpoints.restore(&mut Training::small(), &Device::Cpu, |_| {});
        for error in [restored.unwrap_err(), super::newest(folder.path()).unwrap_err()] {
            assert!(format!("{error:#}").starts_with("cannot read the checkpoint "), "{error:#}");
            assert!(!error.is::<Refused>());
        }
        assert!(newest.exists());
        fs::remove_dir(&newest).unwrap();
        assert!(checkpoints.restore(&mut Training::small(), &Device::Cpu, |_| {}).unwrap());
    }

    #[test]
    fn a_checkpoint_of_another_version_goes_on_and_is_said_to() {
        let folder = tempfile::tempdir().unwrap();
        let of = |revision| Checkpoints {
            revision,
            ..Checkpoints::new(folder.path().to_owned(), toml::Table::new())
        };
        of("0123456789abcdef").save(&Training::small()).unwrap();
        let said = |revision| {
            let said = RefCell::new(String::new());
            let warn = |line: &str| said.borrow_mut().push_str(line);
            assert!(of(revision).restore(&mut Training::small(), &Device::Cpu, warn).unwrap());
            said.into_inner()
        };
        assert_eq!(said("0123456789abcdef"), "");
        let note = "was begun by another version of divkd (0123456; this is fedcba9-dirty.01234567)";
        assert!(said("fedcba9876543210-dirty.01234567").contains(note));
    }
}
