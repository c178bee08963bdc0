//! One finished run on disk: `<out>/<experiment>-<preset>/<row>/seed-<n>/`.
//!
//! | file | content |
//! |---|---|
//! | `run.toml` | [`RunInfo`]: what was run, on what, from which data |
//! | `metrics.csv` | [`EpochRow`], a line an epoch; no wall times, so that equal runs are equal byte by byte |
//! | `timing.csv` | [`TimingRow`], a line an epoch |
//! | `predictions.safetensors` | [`Predictions`]: logits and labels of the validation and the test split |
//! | `model.safetensors` | the kept model; absent from records that are committed |
//!
//! A run is written into a draft folder beside its place and renamed when complete ([`Place`]); a record is never
//! overwritten. [`scan`] finds the finished records under a folder, [`folders`] their experiments'.

mod finished;
mod layout;
mod log;
mod place;
mod predictions;
mod relevant;
mod run_info;
mod scan;

pub use finished::Record;
pub use layout::{METRICS, MODEL, PREDICTIONS, RUN, TIMING};
pub use log::{EpochRow, LogRow, TimingRow};
pub use place::Place;
pub use predictions::{Predictions, Split};
pub use relevant::relevant;
pub use run_info::{DataInfo, RunInfo, SplitRows};
pub use scan::{RecordPath, folders, real, scan, scan_one};
