//! The missing runs of a plan, shared with whatever other processes train the same plan into the same folder: each run has
//! one process at a time, and who finds a run taken does another or waits.

use std::time::Duration;

use super::claim::{Attempt, Claims};
use super::run::{self, Session};
use crate::interrupt;
use crate::plan::{Plan, Run, run_dir};

/// How long to wait before looking again at what others hold.
const PAUSE: Duration = Duration::from_millis(300);

/// Trains what is missing of `plan` until all of it is there. `check` sees each run that another process finished. Where it is
/// interrupted, it says how far the plan is.
///
/// # Errors
/// Those of [`run::run`] and `check`; a signal, the end of the time.
pub fn train(
    session: &Session<'_>,
    plan: &Plan,
    check: impl Fn(&Run) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    train_missing(session, plan, check).inspect_err(|error| {
        if error.is::<interrupt::Interrupted>() {
            let is_finished = |run: &&Run| run_dir(&plan.folder, &run.row, run.seed).is_dir();
            let finished = plan.runs.iter().filter(is_finished).count();
            eprintln!("{}: {finished} of {} runs are finished", session.resolved.folder(), plan.runs.len());
        }
    })
}

fn train_missing(
    session: &Session<'_>,
    plan: &Plan,
    check: impl Fn(&Run) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut claims = Claims::default();
    let total = plan.missing().count();
    let mut left: Vec<(usize, &Run)> = plan.missing().enumerate().collect();
    let mut told = vec![false; total];
    while !left.is_empty() {
        let before = left.len();
        let mut later = Vec::new();
        for (index, run) in left {
            interrupt::check()?;
            let label = format!("[{}/{total}] {}/seed-{}", index + 1, run.row, run.seed);
            let finished = || run_dir(&plan.folder, &run.row, run.seed).is_dir();
            if finished() {
                check(run)?;
                continue;
            }
            if !run.needs.iter().all(|row| run_dir(&plan.folder, row, run.seed).is_dir()) {
                later.push((index, run));
                continue;
            }
            match claims.take(&run::claim_dir(&plan.folder, run))? {
                Attempt::Taken(_) if finished() => check(run)?,
                Attempt::Taken(claim) => run::run(session, run, &claim, &label)?,
                Attempt::Held(holder) => {
                    if !std::mem::replace(&mut told[index], true) {
                        eprintln!("{label}  is trained by {holder}");
                    }
                    later.push((index, run));
                }
            }
        }
        if later.len() == before {
            std::thread::sleep(PAUSE);
        }
        left = later;
    }
    Ok(())
}
