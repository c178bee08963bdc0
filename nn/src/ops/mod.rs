//! Operators, one folder a device.

pub mod cpu;
