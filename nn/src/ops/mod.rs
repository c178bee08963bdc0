//! Operators, one folder a device.

pub mod cpu;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
pub(crate) mod rows;
