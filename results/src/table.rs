//! The paper's table from stored predictions: no training, no data set, no GPU.
//!
//! Within a seed, `de-n` averages teachers 1..n, temperature is fitted on validation, and DEE is read off that seed's own
//! calibrated likelihoods of DE-1..DE-Nmax. Then mean and sample standard deviation (n - 1) over the seeds there are.

mod build;
mod csv;
mod format;
mod grid;
mod measure;
mod mixed;
mod model;
mod notes;
mod predicted;

pub use format::Format;
pub(crate) use grid::{headings, lines};
pub use model::{Bound, Cell, Experiment, Row, Table};
pub(crate) use notes::notes;
pub(crate) use predicted::{Candidate, Predicted};
