//! The Slurm executor: the missing runs of a plan as jobs of the user's own scheduler.
//!
//! * [`options`]: what the user asks of Slurm
//! * [`arrays`]: which runs go into which job
//! * [`script`]: a job as the text that `sbatch` reads
//! * [`ledger`]: what was submitted, kept beside the records
//! * [`queue`]: what Slurm still has of it
//! * [`submit`], [`wait`]: what `divkd reproduce --executor slurm` does
//! * [`call`]: Slurm's programs

pub mod arrays;
pub mod call;
pub mod ledger;
pub mod options;
pub mod queue;
pub mod script;
pub mod submit;
pub mod wait;
