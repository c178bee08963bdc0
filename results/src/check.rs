//! The gate on metrics: what moved between a table and what it is held to, and how sure that is.
//!
//! Three tiers, each a list of [`Finding`]s with a [`Verdict`]:
//!
//! * [`golden`]: a deterministic run against the numbers of an earlier one;
//! * [`spread`]: records against published numbers and earlier records, by the spread over seeds;
//! * [`claims`]: the orderings that the paper states.

pub mod claims;
pub mod golden;
mod interval;
mod report;
pub mod spread;

pub use interval::Interval;
pub(crate) use interval::students_t;
pub use report::{Finding, Report, Section, Verdict};
