//! `divkd list`: what there is to choose from.

use datasets::Id;

use crate::experiments::Experiment;
use crate::model;
use crate::output::outln;

/// Prints methods, networks, data sets and experiments with their presets.
pub fn run() -> anyhow::Result<()> {
    outln!("methods")?;
    for entry in methods::registry() {
        outln!("  {:<20} {}", entry.name, entry.summary)?;
    }
    outln!("networks\n  {}", model::NETWORKS.join(" "))?;
    outln!("  (wrn-<6n+4>-<widen> in other sizes too; each plain or as a BatchEnsemble)")?;
    outln!("data sets")?;
    for id in Id::ALL {
        let spec = id.spec();
        let size = spec.image;
        outln!("  {:<20} {}: {} classes, {size}x{size}", id.name(), spec.title, spec.classes)?;
    }
    outln!("experiments")?;
    for experiment in Experiment::built_in() {
        let presets = experiment.presets()?;
        outln!("  {:<20} presets {} (default {})", experiment.name, presets.join(", "), presets[0])?;
    }
    Ok(())
}
