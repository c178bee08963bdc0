//! What is left to train of a plan, for the workers of this process: who takes which run, where there is room for it, and
//! how it all ended. Other processes are kept away by claims, workers of this one by the board.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::bail;
use claims::{Attempt, Claim, Claims};

use super::attempts::Failed;
use super::room::Room;
use super::run;
use crate::device;
use crate::interrupt::{self, Interrupted};
use crate::plan::{Plan, Row, Run, is_finished};
use crate::progress::say;

/// How long to wait before looking again at what others hold.
pub(super) const PAUSE: Duration = Duration::from_millis(300);

/// The missing runs of a plan.
pub(super) struct Board<'a, C> {
    plan: &'a Plan,
    /// Sees each run that another process finished.
    check: C,
    total: usize,
    /// The devices by their names.
    devices: &'a [String],
    state: Mutex<State<'a>>,
    changed: Condvar,
}

struct State<'a> {
    left: Vec<Left<'a>>,
    claims: Claims,
    room: Room,
    failures: Vec<(&'a Run, anyhow::Error)>,
    /// Runs that were left out because one that they need has failed.
    without: usize,
    /// What ends all workers.
    end: Option<anyhow::Error>,
}

/// A run that is neither finished nor given up.
struct Left<'a> {
    index: usize,
    run: &'a Run,
    /// Whether it was said that another process has it.
    is_told: bool,
    /// Whether a worker of this process has it.
    is_here: bool,
}

/// A run for a worker to train.
pub(super) struct Task<'a> {
    index: usize,
    /// The run.
    pub(super) run: &'a Run,
    /// Keeps other processes from it.
    pub(super) claim: Claim,
    /// Heads what is shown of it.
    pub(super) label: String,
}

impl<'a, C: Fn(&Run) -> anyhow::Result<()>> Board<'a, C> {
    /// The missing runs of `plan`, for `devices` with `room`.
    pub(super) fn new(plan: &'a Plan, devices: &'a [String], room: Room, check: C) -> Self {
        let left = plan.missing().enumerate();
        let left: Vec<Left<'_>> =
            left.map(|(index, run)| Left { index, run, is_told: false, is_here: false }).collect();
        let total = left.len();
        let (claims, failures) = (Claims::default(), Vec::new());
        let state = State { left, claims, room, failures, without: 0, end: None };
        Self { plan, check, total, devices, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<'a>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next run for a worker on the device of that index, once there is one. `None` where all is over, or
    /// [ended](Self::end).
    ///
    /// # Errors
    /// Those of the check and of claims; a signal, the end of the time.
    pub(super) fn next(&self, device: usize) -> anyhow::Result<Option<Task<'a>>> {
        let mut state = self.lock();
        loop {
            interrupt::check()?;
            if state.end.is_some() || state.left.is_empty() {
                return Ok(None);
            }
            let before = state.left.len();
            if let Some(task) = self.look(&mut state, device)? {
                self.changed.notify_all();
                return Ok(Some(task));
            }
            if state.left.len() == before {
                let waited = self.changed.wait_timeout(state, PAUSE);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    /// Goes once through what is left, in the plan's order.
    fn look(&self, state: &mut State<'a>, device: usize) -> anyhow::Result<Option<Task<'a>>> {
        let folder = &self.plan.folder;
        let mut at = 0;
        while let Some(Left { index, run, is_told, is_here }) = state.left.get_mut(at) {
            interrupt::check()?;
            let (index, run) = (*index, *run);
            let label = format!("[{}/{}] {run}", index + 1, self.total);
            let finished = || is_finished(folder, &run.row, run.seed);
            if *is_here {
                at += 1;
                continue;
            }
            if finished() {
                (self.check)(run)?;
                state.left.remove(at);
                continue;
            }
            if state
                .failures
                .iter()
                .any(|(failed, _)| failed.seed == run.seed && run.needs.contains(&failed.row))
            {
                say(&format!("{label}  is left out: a run that it needs has failed"));
                state.without += 1;
                state.left.remove(at);
                continue;
            }
            let is_ready = run.needs.iter().all(|row| is_finished(folder, row, run.seed));
            if !is_ready || !state.room.has(device, is_teacher(run)) {
                at += 1;
                continue;
            }
            match state.claims.take(&run::claim_dir(folder, run))? {
                Attempt::Taken(_claim) if finished() => {
                    let _ = std::fs::remove_dir_all(run::checkpoint_dir(folder, run));
                    (self.check)(run)?;
                    state.left.remove(at);
                }
                Attempt::Taken(claim) => {
                    *is_here = true;
                    state.room.begin(device, index, is_teacher(run));
                    return Ok(Some(Task { index, run, claim, label }));
                }
                Attempt::Held(holder) => {
                    if !std::mem::replace(is_told, true) {
                        say(&format!("{label}  is trained by {holder}"));
                    }
                    at += 1;
                }
            }
        }
        Ok(None)
    }

    /// Notes how `task`, of a worker on the device of that index, ended; what ends more than this run is returned.
    ///
    /// # Errors
    /// `ended`, where the other runs would not fare better.
    pub(super) fn ended(
        &self,
        device: usize,
        task: Task<'a>,
        ended: anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Task { index, run, claim, label } = task;
        let mut state = self.lock();
        let was_beside = state.room.end(device, index);
        let mut goes_on = Ok(());
        match ended {
            Err(error) if was_beside && device::is_out_of_memory(&error) => {
                state.room.one_at_a_time(device);
                let name = self.devices.get(device).map_or("the device", String::as_str);
                say(&format!(
                    "{label}  {error:#}; it shared {name}, which takes one run at a time from now on: this one is \
                     tried again (fewer at a time: --concurrent-runs, --concurrent-teachers)"
                ));
                if let Some(left) = state.left.iter_mut().find(|left| left.index == index) {
                    left.is_here = false;
                }
            }
            Err(error) if is_of_this_run(&error) => {
                say(&format!("{label}  failed: {error:#}"));
                state.failures.push((run, error));
                state.left.retain(|left| left.index != index);
            }
            ended => {
                goes_on = ended;
                state.left.retain(|left| left.index != index);
            }
        }
        drop(claim);
        self.changed.notify_all();
        goes_on
    }

    /// Whether devices are shared by workers, who then keep no memory between their runs.
    pub(super) fn shares_devices(&self) -> bool {
        self.lock().room.is_shared()
    }

    /// Ends all workers at their next look. The first error is kept; an interruption gives way to a later failure.
    pub(super) fn end(&self, error: anyhow::Error) {
        let end = &mut self.lock().end;
        if end.as_ref().is_none_or(|first| first.is::<Interrupted>() && !error.is::<Interrupted>()) {
            *end = Some(error);
        }
        self.changed.notify_all();
    }

    /// What came of the plan, once no worker is left.
    ///
    /// # Errors
    /// What ended the workers; the runs that failed.
    pub(super) fn result(self) -> anyhow::Result<()> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = state.end {
            return Err(error);
        }
        let (mut failures, without) = (state.failures, state.without);
        match failures.len() {
            0 => Ok(()),
            1 if without == 0 => failures.pop().map_or(Ok(()), |(_, error)| Err(error)),
            failed => {
                failures.sort_by_key(|(run, _)| self.plan.runs.iter().position(|of| of == *run));
                let reasons: Vec<String> =
                    failures.iter().map(|(run, error)| format!("{run}: {:#}", error.root_cause())).collect();
                bail!(
                    "{failed} of {} runs failed, {without} need them:\n  {}",
                    self.total,
                    reasons.join("\n  ")
                )
            }
        }
    }
}

fn is_teacher(run: &Run) -> bool {
    matches!(run.row, Row::Teacher(_))
}

/// Whether the others may fare better: not where a disk fails, or the settings are wrong.
fn is_of_this_run(error: &anyhow::Error) -> bool {
    error.is::<Failed>() && !error.chain().any(|cause| cause.is::<std::io::Error>())
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod tests;
