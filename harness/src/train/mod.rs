//! One run, from its seed to its record.
//!
//! * [`run`]: what every executor calls for each run of the plan
//! * [`training`]: epochs and steps
//! * [`batches`]: training images on the device
//! * [`tally`]: losses and accuracies of an epoch, read from the device once
//! * [`evaluate`]: what a network predicts on a data set
//! * [`checkpoint`]: everything that an interrupted run needs to go on; `saver` says when one is written
//! * [`shared`]: the runs of a plan, shared among processes, one process a run; its `board` says who takes which
//! * [`workers`]: several runs at a time in one process; [`room`]: which of them may share a device
//! * [`micro_batch`]: whether batches can be cut as asked
//! * [`attempts`]: which attempts at a run failed, and when to give up
//! * [`pace`]: how long the pieces of a run take, for time limits
//! * [`record`]: the finished run's files
//! * [`seeds`]: which seed keys which random stream

pub mod attempts;
pub mod batches;
mod board;
pub mod checkpoint;
pub mod evaluate;
pub mod micro_batch;
pub mod pace;
pub mod record;
pub mod room;
pub mod run;
pub(crate) mod saver;
pub mod seeds;
pub mod shared;
pub mod tally;
pub mod training;
pub mod workers;
