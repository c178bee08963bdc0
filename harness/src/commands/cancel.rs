//! `divkd cancel`: takes an experiment's jobs out of Slurm's queue.

use crate::slurm::call::call;
use crate::slurm::submit::take_stock;
use crate::train::shared;
use crate::{cli, status};

/// Cancels what is in the queue; what was computed stays.
///
/// # Errors
/// Where the folder cannot be read, or Slurm is missing or refuses.
pub fn run(args: &cli::Cancel) -> anyhow::Result<()> {
    let mut all: Vec<u64> = Vec::new();
    for folder in status::folders(&args.dir)? {
        let _claim = shared::wait(&folder.join(".tmp-claim-submit"))?;
        let ids: Vec<u64> = take_stock(&folder)?.ids.into_values().collect();
        if !ids.is_empty() {
            call("scancel", &ids.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        }
        all.extend(ids);
    }
    match all.len() {
        0 => eprintln!("nothing of it is in the queue"),
        jobs => eprintln!(
            "{jobs} jobs cancelled; checkpoints and finished runs stay, the same `divkd reproduce` goes on from them"
        ),
    }
    Ok(())
}
