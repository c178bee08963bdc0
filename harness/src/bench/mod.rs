//! Timing of training steps.
//!
//! A bench step does everything that a training step does after its batch is there: perturbation, teachers, both student
//! passes, backward, update. Nothing is kept from one step to the next.

pub mod gate;
pub mod step;

pub use gate::SpeedGolden;
pub use step::{Measured, StepBench};

/// The process's largest resident memory so far, in MiB; `None` where the system does not tell.
pub fn peak_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024)
}
