//! The missing runs of a plan, shared with whatever other processes train the same plan into the same folder: each run has
//! one process at a time, and who finds a run taken does another or waits. A run that fails does not stop the others.

use std::path::Path;

use claims::{Attempt, Claim, Claims};

use super::board::PAUSE;
use super::run::{self, Session};
use super::workers::{self, Spread};
use crate::interrupt;
use crate::plan::{Plan, Run, is_finished};

/// Trains what is missing of `plan` until all of it is there or has failed, one run after the other. `check` sees each run
/// that another process finished. Where it is interrupted, it says how far the plan is.
///
/// # Errors
/// Those of [`run::run`] and `check`; a signal, the end of the time. A run that fails in training ends this once the runs
/// that do not need it are over; a disk that fails, at once.
pub fn train(
    session: &Session<'_>,
    plan: &Plan,
    check: impl Fn(&Run) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    tidy(plan);
    workers::alone(session, plan, check).inspect_err(|error| say_how_far(session, plan, error))
}

/// [`train`] with several runs at a time, as `spread` says; of `session`, all but the device. A run for which the memory of a
/// device that it shares is not enough is tried again where it has the device for itself.
///
/// # Errors
/// Those of [`train`]; devices that do not open.
pub fn train_together(
    session: &Session<'_>,
    spread: &Spread,
    plan: &Plan,
    check: impl Fn(&Run) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    tidy(plan);
    workers::together(session, spread, plan, check).inspect_err(|error| say_how_far(session, plan, error))
}

fn say_how_far(session: &Session<'_>, plan: &Plan, error: &anyhow::Error) {
    if error.is::<interrupt::Interrupted>() {
        let is_there = |run: &&Run| is_finished(&plan.folder, &run.row, run.seed);
        let finished = plan.runs.iter().filter(is_there).count();
        eprintln!("{}: {finished} of {} runs are finished", session.resolved.folder(), plan.runs.len());
    }
}

/// Removes what processes left that were killed between a record and the end of their work: checkpoints and claims of
/// finished runs. What cannot be removed harms nobody.
pub fn tidy(plan: &Plan) {
    let mut claims = Claims::default();
    for run in &plan.runs {
        let (claim, checkpoints) =
            (run::claim_dir(&plan.folder, run), run::checkpoint_dir(&plan.folder, run));
        let is_left = claim.exists() || checkpoints.exists();
        if is_left
            && is_finished(&plan.folder, &run.row, run.seed)
            && let Ok(Attempt::Taken(_claim)) = claims.take(&claim)
        {
            let _ = std::fs::remove_dir_all(&checkpoints);
        }
    }
}

/// The claim in `dir`, waited for. A signal, or the end of the time, ends the wait, where there is one.
///
/// # Errors
/// Those of [`Claims::take`]; a signal.
pub fn wait(dir: &Path) -> anyhow::Result<Claim> {
    let mut claims = Claims::default();
    loop {
        match claims.take(dir)? {
            Attempt::Taken(claim) => return Ok(claim),
            Attempt::Held(_) => {
                interrupt::check()?;
                std::thread::sleep(PAUSE);
            }
        }
    }
}
