//! How long the rest of a plan takes: list scheduling of what is left on as many devices as work now.

use std::collections::BTreeMap;
use std::path::Path;

use results::record::{LogRow, TIMING, TimingRow};

use super::State;
use crate::plan::schedule::{Job, schedule};
use crate::plan::{Run, run_dir};

/// Finished runs of a method whose times are read.
const SAMPLES: usize = 2;

/// How long the rest takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Left {
    /// Seconds until all runs are done whose time is known.
    pub seconds: f64,
    /// The methods of the others: none of their runs has told how long it takes.
    pub unknown: Vec<String>,
}

/// As [`Experiment::left`](super::Experiment::left). A run that is still to come takes as long as those of its method did, or
/// will.
pub(super) fn left(folder: &Path, runs: &[(Run, State)]) -> Option<Left> {
    let devices = runs.iter().filter(|(_, state)| matches!(state, State::Running { .. })).count();
    let mut known: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (run, state) in runs {
        let samples = known.entry(run.row.method()).or_default();
        if samples.len() < SAMPLES {
            samples.extend(match state {
                State::Done => took(folder, run),
                State::Running { progress: Some(progress), .. } => {
                    let total = (progress.epochs * progress.steps) as f64;
                    let left = total - progress.step as f64;
                    (progress.seconds_left > 0.0 && left > 0.0).then(|| progress.seconds_left / left * total)
                }
                _ => None,
            });
        }
    }
    let mut jobs = Vec::new();
    let mut unknown: Vec<String> = Vec::new();
    let mut index = BTreeMap::new();
    for (run, state) in runs {
        let of_method = || {
            let samples = known.get(run.row.method()).filter(|samples| !samples.is_empty())?;
            Some(samples.iter().sum::<f64>() / samples.len() as f64)
        };
        let seconds = match state {
            State::Done | State::Failed { .. } => continue,
            State::Running { progress: Some(progress), .. } if progress.seconds_left > 0.0 => {
                progress.seconds_left
            }
            _ => match of_method() {
                Some(seconds) => seconds,
                None => {
                    let method = run.row.method();
                    if !unknown.iter().any(|known| known == method) {
                        unknown.push(method.to_owned());
                    }
                    continue;
                }
            },
        };
        let needs = run.needs.iter().filter_map(|row| index.get(&(row, run.seed)).copied()).collect();
        index.insert((&run.row, run.seed), jobs.len());
        jobs.push(Job { seconds, needs });
    }
    let is_over = jobs.is_empty() && unknown.is_empty();
    (devices > 0 || is_over).then(|| Left { seconds: schedule(&jobs, devices).makespan, unknown })
}

/// The time of a finished run's epochs.
fn took(folder: &Path, run: &Run) -> Option<f64> {
    let path = run_dir(folder, &run.row, run.seed).join(TIMING);
    let rows = TimingRow::read_all(&path).ok()?;
    Some(rows.iter().map(|row| row.seconds).sum())
}
