//! `divkd predict`: what model files of any origin predict on an experiment's images.

use anyhow::{Context, ensure};
use candle_core::Device;
use datasets::Dataset;
use nn::Network;
use results::record::{MODEL, Predictions, Split};

use super::import;
use crate::cli;
use crate::config;
use crate::experiments::Experiment;
use crate::train::evaluate;
use crate::{device, loading, model, whole_file};

/// Writes the predictions of the models, together as the members of one ensemble, for the experiment's validation and test
/// images. `divkd eval` scores them.
///
/// # Errors
/// Names and settings that are wrong; files that hold no such network; data that cannot be had; failures of the device.
pub fn run(args: &cli::Predict) -> anyhow::Result<()> {
    let experiment = Experiment::find(&args.experiment)?;
    let config = config::resolve(&experiment, args.preset.as_deref(), &args.set)?.config;
    ensure!(!args.out.exists(), "{} exists already: name another file", args.out.display());
    loading::look(&config.data, args.data_dir.as_deref())?;
    let chosen = device::choose(&args.device, &args.precision)?;
    let plain = model::spec(&config)?.in_precision(chosen.precision);
    let mut networks = Vec::new();
    for path in &args.models {
        let file = if path.is_dir() { path.join(MODEL) } else { path.clone() };
        let tensors = import::read(&file)?;
        let classes = import::classes(&tensors, &file)?;
        ensure!(
            classes == plain.classes,
            "{} tells {classes} classes apart, {} has {}",
            file.display(),
            config.data.dataset,
            plain.classes
        );
        let spec = import::ensemble(plain.clone(), &tensors);
        let network = import::load(&spec, &tensors, &file, &chosen.device);
        networks.push(network.with_context(|| {
            format!(
                "{} is not of the experiment's network, {} (--set network=..)",
                file.display(),
                config.network
            )
        })?);
    }
    let splits = loading::splits(&config.data, args.data_dir.as_deref())?;
    let predict = |data| split(&networks, data, config.student.batch, &chosen.device);
    let predictions = Predictions { val: predict(&splits.val)?, test: predict(&splits.test)? };
    whole_file::make(&args.out, |draft| {
        predictions.write(draft)?;
        Ok(std::fs::File::open(draft)?.sync_all()?)
    })?;
    eprintln!("wrote {}: {} members on {}", args.out.display(), predictions.test.m, chosen.reason);
    Ok(())
}

/// All networks' members, one after the other.
fn split(networks: &[Network], data: &Dataset, batch: usize, device: &Device) -> anyhow::Result<Split> {
    let (mut logits, mut m) = (Vec::new(), 0);
    for network in networks {
        let of = evaluate::predict(network, data, batch, device)?;
        logits.extend(of.logits);
        m += of.m;
    }
    Ok(Split { logits, labels: data.labels.clone(), m, n: data.len(), k: data.classes })
}
