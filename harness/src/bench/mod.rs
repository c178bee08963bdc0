//! Timing of training steps.
//!
//! A bench step does everything that a training step does after its batch is there: perturbation, teachers, both student
//! passes, backward, update. Nothing is kept from one step to the next.

pub mod gate;
pub mod step;

use crate::config::{self, Config};
use crate::experiments::Experiment;

pub use gate::SpeedGolden;
pub use step::{Measured, StepBench};

/// The experiment whose settings are taken where none is named: it has every registered method.
pub const EXPERIMENT: &str = "quick";

/// The settings of an experiment, by name or file, in its default preset.
///
/// # Errors
/// Where there is no such experiment, or it is wrong.
pub fn settings(experiment: &str) -> anyhow::Result<Config> {
    Ok(config::resolve(&Experiment::find(experiment)?, None, &[])?.config)
}

/// The process's largest resident memory so far, in MiB; `None` where the system does not tell.
pub fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024)
}
