//! A method with settings that it accepts, small networks, and a batch.

use candle_core::{Device, Tensor};
use methods::{Batch, Entry, Loss, Method, Step, Streams};
use nn::{Family, Network, NetworkSpec, Precision, Shortcut};
use random::Stream;
use toml::Value;

pub(crate) const MEMBERS: usize = 2;
pub(crate) const BATCH: usize = 7;
pub(crate) const CLASSES: usize = 3;
/// Does not divide the batch.
pub(crate) const GROUPS: usize = 2;

/// A value for a setting, one that matters. What is not named here gets 1.
fn value(key: &str) -> Value {
    match key {
        "alpha" => 0.7.into(),
        "tau" => 2.0.into(),
        "eta" => 8.0.into(),
        _ => 1.0.into(),
    }
}

/// The settings that an entry asks for: found by handing in what it says is missing.
pub(crate) fn settings(entry: &Entry) -> Result<toml::Table, String> {
    let mut table = toml::Table::new();
    while let Err(error) = (entry.from_toml)(table.clone()) {
        let missing = error.message().strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        match missing {
            Some(key) if !table.contains_key(key) => table.insert(key.to_owned(), value(key)),
            _ => {
                let place = "methods/tests/contract/fixture.rs, `value`";
                return Err(format!(
                    "give this method's settings values that it accepts in {place}: {error}"
                ));
            }
        };
    }
    Ok(table)
}

pub(crate) fn method(entry: &Entry, settings: toml::Table) -> Result<Box<dyn Method>, String> {
    (entry.from_toml)(settings).map_err(|e| e.to_string())
}

/// The plain network of the experiment.
pub(crate) fn plain() -> NetworkSpec {
    NetworkSpec {
        family: Family::ResNet,
        shortcut: Shortcut::Identity,
        blocks: vec![1, 1],
        in_planes: 4,
        widen: 1,
        channels: 3,
        image: 6,
        classes: CLASSES,
        members: None,
        pixel_mean: vec![0.5; 3],
        pixel_std: vec![0.25; 3],
        precision: Precision::F32,
    }
}

pub(crate) fn network(spec: &NetworkSpec, seed: u64) -> Result<Network, String> {
    Network::new(spec, seed, &Device::Cpu).map_err(|e| e.to_string())
}

/// `count` teachers, different networks.
pub(crate) fn teachers(count: usize) -> Result<Vec<Network>, String> {
    (0..count).map(|n| network(&plain(), 100 + n as u64)).collect()
}

pub(crate) fn batch() -> Result<Batch, String> {
    let mut draws = Stream::new(9, "tests").draws(0, 0);
    let spec = plain();
    let images: Vec<f32> = (0..BATCH * 3 * spec.image * spec.image).map(|_| draws.uniform()).collect();
    let labels: Vec<u32> = (0..BATCH).map(|_| draws.below(CLASSES as u32)).collect();
    let images = Tensor::from_vec(images, (BATCH, 3, spec.image, spec.image), &Device::Cpu);
    let labels = Tensor::from_vec(labels, BATCH, &Device::Cpu);
    Ok(Batch { images: images.map_err(|e| e.to_string())?, labels: labels.map_err(|e| e.to_string())? })
}

/// The loss of the batch, with draws from `seed`.
pub(crate) fn loss(
    method: &dyn Method,
    student: &Network,
    teachers: &[Network],
    seed: u64,
) -> Result<Loss, String> {
    loss_on(&batch()?, method, student, teachers, seed)
}

/// The same on another batch.
pub(crate) fn loss_on(
    batch: &Batch,
    method: &dyn Method,
    student: &Network,
    teachers: &[Network],
    seed: u64,
) -> Result<Loss, String> {
    let noise = Streams { seed, epoch: 1, step: 0 };
    let step = Step { student, teachers, groups: GROUPS, noise: &noise, progress: 0.5 };
    method.loss(batch, &step).map_err(|e| e.to_string())
}
