//! `divkd import`: an official checkpoint as a model file of this program.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use candle_core::Device;
use nn::{NamedTensor, Network, NetworkSpec};

use crate::config::MOST_NETWORKS;
use crate::{cli, model, whole_file};

/// Classes: three times those of the largest classification benchmarks.
const MOST_CLASSES: usize = 65_536;

/// Images of this size build the network: its parameters do not depend on it.
const IMAGE: usize = 32;

/// Reads the tensors, holds them to the network's names and shapes, and writes them as safetensors.
///
/// # Errors
/// An unknown network; a file that is no checkpoint; tensors that are missing, left over or of another shape.
pub fn run(args: &cli::Import) -> anyhow::Result<()> {
    model::network(&args.network, IMAGE, 1)?;
    ensure!(!args.out.exists(), "{} exists already: name another file", args.out.display());
    let tensors = read(&args.file)?;
    let classes = classes(&tensors, &args.file)?;
    let spec = ensemble(model::network(&args.network, IMAGE, classes)?, &tensors);
    let network = load(&spec, &tensors, &args.file, &Device::Cpu)?;
    whole_file::make(&args.out, |draft| Ok(network.save(draft)?))?;
    let kind = spec.members.map_or_else(|| "plain".to_owned(), |m| format!("BatchEnsemble of {m}"));
    eprintln!("wrote {}: {}, {kind}, {classes} classes", args.out.display(), args.network);
    Ok(())
}

/// The tensors of a checkpoint or a model file.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<NamedTensor>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".safetensors") {
        return Ok(nn::state::read_safetensors(path)?);
    }
    if [".pth", ".pth.tar", ".pt"].iter().any(|ending| name.ends_with(ending)) {
        return Ok(nn::official::read_pth(path, nn::official::STATE_DICT_KEY)?);
    }
    ensure!(path.is_file(), "there is no file {}", path.display());
    bail!("{}: expected a name that ends in .pth.tar or .safetensors", path.display())
}

/// How many classes the network tells apart that `tensors` are of.
pub(super) fn classes(tensors: &[NamedTensor], file: &Path) -> anyhow::Result<usize> {
    let classes = rows(tensors, "classifier.fc.weight").with_context(|| {
        format!("{} has no classifier.fc.weight: not one of the networks", file.display())
    })?;
    let members = rows(tensors, "classifier.fc.alpha_be").unwrap_or(1);
    // A network is made before its tensors are compared.
    for (what, found, most) in [("classes", classes, MOST_CLASSES), ("members", members, MOST_NETWORKS)] {
        ensure!((1..=most).contains(&found), "{}: {found} {what}: expected 1 to {most}", file.display());
    }
    Ok(classes)
}

/// `plain`, or the BatchEnsemble of it that `tensors` are of.
pub(super) fn ensemble(plain: NetworkSpec, tensors: &[NamedTensor]) -> NetworkSpec {
    match rows(tensors, "classifier.fc.alpha_be") {
        Some(members) => plain.batch_ensemble(members),
        None => plain,
    }
}

/// The network with these tensors.
pub(super) fn load(
    spec: &NetworkSpec,
    tensors: &[NamedTensor],
    file: &Path,
    device: &Device,
) -> anyhow::Result<Network> {
    let network = Network::new(spec, 0, device)?;
    let loaded = network.load_state(tensors);
    loaded.with_context(|| format!("{} does not hold such a network", file.display()))?;
    Ok(network)
}

/// The first dimension of the tensor whose name ends so.
fn rows(tensors: &[NamedTensor], ending: &str) -> Option<usize> {
    let tensor = tensors.iter().find(|tensor| tensor.name.ends_with(ending))?;
    tensor.shape.first().copied()
}
