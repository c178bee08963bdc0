//! The commands, one module each: what they read, do and print.

pub mod analyze;
pub mod bench;
pub mod cancel;
pub mod check;
pub mod data;
pub mod eval;
pub mod export;
mod finished;
pub mod import;
pub mod keep;
pub mod list;
pub mod oracle;
pub mod pack;
pub mod plan;
pub mod predict;
pub mod report;
pub mod reproduce;
pub mod run;
mod spread;
pub mod status;
pub mod table;
