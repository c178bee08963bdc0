//! The missing runs of a plan, shared with whatever other processes train the same plan into the same folder: each run has
//! one process at a time, and who finds a run taken does another or waits. A run that fails does not stop the others.

use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use claims::{Attempt, Claim, Claims};

use super::attempts::Failed;
use super::run::{self, Session};
use crate::interrupt;
use crate::plan::{Plan, Run, is_finished};

/// How long to wait before looking again at what others hold.
const PAUSE: Duration = Duration::from_millis(300);

/// Trains what is missing of `plan` until all of it is there or has failed. `check` sees each run that another process
/// finished. Where it is interrupted, it says how far the plan is.
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
    train_missing(session, plan, check).inspect_err(|error| {
        if error.is::<interrupt::Interrupted>() {
            let is_there = |run: &&Run| is_finished(&plan.folder, &run.row, run.seed);
            let finished = plan.runs.iter().filter(is_there).count();
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
    let mut failures: Vec<(&Run, anyhow::Error)> = Vec::new();
    let mut without = 0;
    while !left.is_empty() {
        let before = left.len();
        let mut later = Vec::new();
        for (index, run) in left {
            interrupt::check()?;
            let label = format!("[{}/{total}] {run}", index + 1);
            let finished = || is_finished(&plan.folder, &run.row, run.seed);
            if finished() {
                check(run)?;
                continue;
            }
            if failures.iter().any(|(failed, _)| failed.seed == run.seed && run.needs.contains(&failed.row)) {
                eprintln!("{label}  is left out: a run that it needs has failed");
                without += 1;
                continue;
            }
            if !run.needs.iter().all(|row| is_finished(&plan.folder, row, run.seed)) {
                later.push((index, run));
                continue;
            }
            match claims.take(&run::claim_dir(&plan.folder, run))? {
                Attempt::Taken(_claim) if finished() => {
                    let _ = std::fs::remove_dir_all(run::checkpoint_dir(&plan.folder, run));
                    check(run)?;
                }
                Attempt::Taken(claim) => match run::run(session, run, &claim, &label) {
                    Err(error) if is_of_this_run(&error) => {
                        eprintln!("{label}  failed: {error:#}");
                        failures.push((run, error));
                    }
                    ended => ended?,
                },
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
    match failures.len() {
        0 => Ok(()),
        1 if without == 0 => failures.pop().map_or(Ok(()), |(_, error)| Err(error)),
        failed => {
            let reasons: Vec<String> =
                failures.iter().map(|(run, error)| format!("{run}: {:#}", error.root_cause())).collect();
            bail!("{failed} of {total} runs failed, {without} need them:\n  {}", reasons.join("\n  "))
        }
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

/// Whether the others may fare better: not where a disk fails, or the settings are wrong.
fn is_of_this_run(error: &anyhow::Error) -> bool {
    error.is::<Failed>() && !error.chain().any(|cause| cause.is::<io::Error>())
}

/// The claim in `dir`, waited for.
///
/// # Errors
/// Those of [`Claims::take`]; a signal.
pub fn wait(dir: &Path) -> anyhow::Result<Claim> {
    let mut claims = Claims::default();
    loop {
        interrupt::check()?;
        match claims.take(dir)? {
            Attempt::Taken(claim) => return Ok(claim),
            Attempt::Held(_) => std::thread::sleep(PAUSE),
        }
    }
}
