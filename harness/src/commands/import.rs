//! `divkd import`: an official checkpoint as a model file of this program.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use candle_core::Device;
use nn::{NamedTensor, Network};

use crate::cli;
use crate::model;

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
    let size = |ending: &str| {
        tensors
            .iter()
            .find(|tensor| tensor.name.ends_with(ending))
            .and_then(|tensor| tensor.shape.first().copied())
    };
    let classes = size("classifier.fc.weight").with_context(|| {
        format!("{} has no classifier.fc.weight: not one of the networks", args.file.display())
    })?;
    let members = size("classifier.fc.alpha_be");
    let mut spec = model::network(&args.network, IMAGE, classes)?;
    if let Some(members) = members {
        spec = spec.batch_ensemble(members);
    }
    let network = Network::new(&spec, 0, &Device::Cpu)?;
    network
        .load_state(&tensors)
        .with_context(|| format!("{} does not hold a {}", args.file.display(), args.network))?;
    network.save(&args.out)?;
    let kind = members.map_or_else(|| "plain".to_owned(), |m| format!("BatchEnsemble of {m}"));
    eprintln!("wrote {}: {}, {kind}, {classes} classes", args.out.display(), args.network);
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<NamedTensor>> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    if name.ends_with(".safetensors") {
        return Ok(nn::state::read_safetensors(path)?);
    }
    if [".pth", ".pth.tar", ".pt"].iter().any(|ending| name.ends_with(ending)) {
        return Ok(nn::official::read_pth(path, nn::official::STATE_DICT_KEY)?);
    }
    bail!("{}: expected a name that ends in .pth.tar or .safetensors", path.display())
}
