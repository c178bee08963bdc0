//! Several runs of a plan at a time in one process: a thread for each, with a device handle of its own, for a device
//! belongs to the thread that opened it. The bits of a run do not depend on what is trained beside it.

use std::thread;

use super::board::{Board, Task};
use super::room::{Most, Room};
use super::run::{self, Session};
use crate::device::{self, Chosen};
use crate::interrupt::{self, Interrupted};
use crate::plan::{Plan, Run};

/// A step's graph is walked by recursion, deeper in debug builds and deep networks than a thread's usual 2 MiB.
const STACK: usize = 64 << 20;

/// Where a plan's runs are trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Names as `--device` takes them, at least one.
    pub devices: Vec<String>,
    /// The option that names them, for errors.
    pub option: &'static str,
    /// As `--precision` takes it.
    pub precision: String,
    /// The most images of a pass, as `--micro-batch` takes them.
    pub micro_batch: Option<usize>,
    /// On each device.
    pub most: Most,
}

impl Spread {
    /// Opens one of the devices, for the calling thread.
    ///
    /// # Errors
    /// Those of [`device::choose_for`].
    pub fn open(&self, name: &str) -> anyhow::Result<Chosen> {
        Ok(device::choose_for(self.option, name, &self.precision)?.in_micro_batches(self.micro_batch))
    }

    /// Whether there is never more than one run at a time.
    pub fn is_single(&self) -> bool {
        self.devices.len() == 1 && self.most.at_a_time() == 1
    }
}

/// Trains what is missing of `plan` in this thread, on the session's device.
pub(super) fn alone<C>(session: &Session<'_>, plan: &Plan, check: C) -> anyhow::Result<()>
where
    C: Fn(&Run) -> anyhow::Result<()>,
{
    let devices = [session.device.name.clone()];
    let board = Board::new(plan, &devices, Room::new(1, Most { runs: 1, teachers: 1 }), check);
    if let Err(error) = work(&board, 0, session) {
        board.end(error);
    }
    board.result()
}

/// Trains what is missing of `plan` as `spread` says; of `session`, all but the device.
pub(super) fn together<C>(session: &Session<'_>, spread: &Spread, plan: &Plan, check: C) -> anyhow::Result<()>
where
    C: Fn(&Run) -> anyhow::Result<()> + Sync,
{
    let most = spread.most.at_a_time().min(plan.missing().count());
    let board = Board::new(plan, &spread.devices, Room::new(spread.devices.len(), spread.most), check);
    thread::scope(|scope| {
        let board = &board;
        let mut workers = Vec::new();
        for number in 1..=most {
            for (index, name) in spread.devices.iter().enumerate() {
                let worker = move || {
                    let _panic = EndsOthers;
                    let worked = spread.open(name).and_then(|chosen| {
                        let worked = work(board, index, &Session { device: &chosen, ..*session });
                        device::close(chosen.device);
                        worked
                    });
                    if let Err(error) = worked {
                        // Of a signal or the time the others hear themselves, at a better moment.
                        let concerns_all = !error.is::<Interrupted>();
                        board.end(error);
                        if concerns_all {
                            interrupt::end_others();
                        }
                    }
                };
                let thread = thread::Builder::new().name(format!("{name} {number}")).stack_size(STACK);
                match thread.spawn_scoped(scope, worker) {
                    Ok(handle) => workers.push(handle),
                    Err(error) => {
                        board.end(anyhow::Error::new(error).context("cannot start a thread"));
                        interrupt::end_others();
                    }
                }
            }
        }
        for worker in workers {
            if let Err(panic) = worker.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    board.result()
}

/// Trains one run after the other until nothing is left for this worker, on the device of that index.
fn work<'a, C>(board: &Board<'a, C>, device: usize, session: &Session<'_>) -> anyhow::Result<()>
where
    C: Fn(&Run) -> anyhow::Result<()>,
{
    while let Some(task) = board.next(device)? {
        let Task { run, claim, label, .. } = &task;
        let ended = run::run(session, run, claim, label);
        board.ended(device, task, ended)?;
        if board.shares_devices() {
            device::release(&session.device.device);
        }
    }
    Ok(())
}

/// A worker that panics leaves a run that the others would wait for.
struct EndsOthers;

impl Drop for EndsOthers {
    fn drop(&mut self) {
        if thread::panicking() {
            interrupt::end_others();
        }
    }
}
