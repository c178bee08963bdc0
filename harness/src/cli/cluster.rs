//! Arguments of the commands for one run, for clusters and for planning.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Devices, Planned};
use crate::interrupt::TimeLimit;

/// Who trains the runs of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Executor {
    /// This process.
    Local,
    /// Jobs of a Slurm cluster that shares this folder.
    Slurm,
    /// Nobody: evaluate what is finished and say what is missing.
    None,
}

/// Options that do not go together or say nothing that is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongOptions(pub String);

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct Run {
    /// What the run belongs to.
    #[command(flatten)]
    pub planned: Planned,
    /// Stop at a checkpoint before so much time is over, such as 90s, 9m or 1h30m, and say how to go on (exit code 75).
    #[arg(long, value_name = "TIME")]
    pub time_limit: Option<TimeLimit>,
    /// The row, such as teacher-1 or be-kd.
    pub row: String,
    /// The repetition, from 1.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub seed: u32,
}

/// Arguments of `status`.
#[derive(Debug, Args)]
pub struct Status {
    /// A folder of records: all experiments or one of them.
    #[arg(default_value = "runs")]
    pub dir: PathBuf,
    /// One JSON object a run instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `cancel`.
#[derive(Debug, Args)]
pub struct Cancel {
    /// A folder of records: all experiments or one of them.
    #[arg(default_value = "runs")]
    pub dir: PathBuf,
}

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub struct Plan {
    /// What to plan; finished runs under --out are left out.
    #[command(flatten)]
    pub planned: Planned,
    /// Devices: a number, some (1,2,4), a range (1..128) or both.
    #[arg(long, value_name = "N,A..B", default_value = "1")]
    pub devices: Devices,
    /// Average time between failures of one device, such as 24h or 30days. Without it nothing fails.
    #[arg(long, value_name = "TIME", value_parser = mtbf)]
    pub mtbf: Option<Duration>,
    /// Step time of a method, such as be-kd=0.8 (seconds). With all of them given nothing is timed here. May be repeated.
    #[arg(long, value_name = "METHOD=SECONDS", value_parser = step)]
    pub step: Vec<(String, f64)>,
    /// Time to write a checkpoint (default: its size at 200 MB a second).
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub checkpoint: Option<Duration>,
    /// Time from a failure until the run works again: the scheduler's wait, the claim's, loading.
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "5m")]
    pub restart: Duration,
}

fn time(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .map_err(|error| format!("expected a time such as 90s, 24h or 30days: {error}"))
}

/// Devices that fail more often than once a minute train nothing, and what the model says of them has no meaning.
fn mtbf(text: &str) -> Result<Duration, String> {
    let least = Duration::from_secs(60);
    let time = time(text)?;
    if time < least { Err("expected a minute or more, such as 24h or 30days".to_owned()) } else { Ok(time) }
}

fn step(text: &str) -> Result<(String, f64), String> {
    let wrong = || format!("expected a method and seconds, such as be-kd=0.8, found `{text}`");
    let (method, seconds) = text.split_once('=').ok_or_else(wrong)?;
    let seconds: f64 = seconds.parse().map_err(|_| wrong())?;
    if seconds.is_finite() && seconds > 0.0 { Ok((method.to_owned(), seconds)) } else { Err(wrong()) }
}
