//! `divkd list`: what there is to choose from.

use datasets::Id;

use crate::experiments::Experiment;
use crate::model;

/// Prints methods, networks, data sets and experiments with their presets.
pub fn run() -> anyhow::Result<()> {
    println!("methods");
    for entry in methods::registry() {
        println!("  {:<20} {}", entry.name, entry.summary);
    }
    println!("networks\n  {}", model::NETWORKS.join(" "));
    println!("  (wrn-<6n+4>-<widen> in other sizes too; each plain or as a BatchEnsemble)");
    println!("data sets");
    for id in Id::ALL {
        let spec = id.spec();
        let size = spec.image;
        println!("  {:<20} {}: {} classes, {size}x{size}", id.name(), spec.title, spec.classes);
    }
    println!("experiments");
    for experiment in Experiment::built_in() {
        let presets = experiment.presets()?;
        println!("  {:<20} presets {} (default {})", experiment.name, presets.join(", "), presets[0]);
    }
    Ok(())
}
