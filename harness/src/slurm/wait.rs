//! Waits for a plan's jobs.

use std::path::Path;
use std::time::{Duration, Instant};

use super::ledger;
use super::queue::Queue;
use crate::interrupt;
use crate::status::Experiment;

/// Shows a line whenever a run began or ended, and every minute, until none of the jobs is in the queue. Asks the more rarely the longer it
/// takes: every second at first, every half minute after ten minutes.
///
/// # Errors
/// A signal, which the jobs do not feel; a queue that does not answer ten times in a row.
pub fn wait(folder: &Path) -> anyhow::Result<()> {
    let start = Instant::now();
    let (mut shown, mut silent) = ((Vec::new(), Instant::now()), 0);
    loop {
        match Queue::ask(&ledger::read(folder)?) {
            Ok(queue) => {
                silent = 0;
                let seen = Experiment::look(folder, &queue)?;
                let states: Vec<&str> = seen.runs.iter().map(|(_, state)| state.name()).collect();
                if states != shown.0 || shown.1.elapsed() > Duration::from_secs(60) {
                    eprintln!("{}", seen.summary());
                    shown = (states, Instant::now());
                }
                if queue.is_empty() {
                    return Ok(());
                }
            }
            Err(error) => {
                silent += 1;
                if silent == 10 || error.is_missing() {
                    return Err(error.into());
                }
            }
        }
        let next =
            Instant::now() + (start.elapsed() / 20).clamp(Duration::from_secs(1), Duration::from_secs(30));
        while Instant::now() < next {
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
