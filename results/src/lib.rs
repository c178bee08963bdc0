//! What finished runs leave on disk, and the tables made from it; no training engine.
//!
//! * [`record`]: one finished run is a folder `<out>/<experiment>-<preset>/<row>/seed-<n>/`.
//! * [`analysis`]: what the figures need beyond predictions.
//! * [`table`]: the paper's table from the stored predictions of such folders, with mean and spread over seeds.
//! * [`compare`]: whether one row is better than another, by a bootstrap over test images and seeds.
//! * [`check`]: what moved between such a table and published numbers, earlier records or a stored table.
//! * [`figure`]: the paper's figures from stored records.
//! * [`report`]: a page with all of it, and its figures and tables as files.
//! * [`reference`](mod@reference): the published numbers that stand beside ours.
//! * [`sheet`]: small tables in every format.
//! * [`timing`]: what an epoch of each row took.
//! * [`rows`]: the names of a table's rows, and their order.
//! * [`tested`]: what a row's test predictions say, example by example.
//! * [`tensorboard`]: the epochs and scores as event files.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

pub mod analysis;
pub mod check;
mod column;
pub mod compare;
mod dotted;
mod error;
pub mod figure;
mod moments;
pub mod record;
pub mod reference;
pub mod report;
pub mod rows;
pub mod sheet;
pub mod table;
pub mod tensorboard;
pub mod tested;
pub mod timing;

pub use column::Column;
pub use error::{Error, Result};
