//! Standard output, which may lie on a full disk: an error like others, where `println!` would panic.

use std::fmt;
use std::io::{self, Write};

use anyhow::Context;

/// Writes to standard output.
///
/// # Errors
/// Where that takes no more.
pub fn write(text: fmt::Arguments<'_>) -> anyhow::Result<()> {
    io::stdout().lock().write_fmt(text).context("cannot write to standard output")
}

/// `print!`, with an error where standard output takes no more.
macro_rules! out {
    ($($text:tt)*) => { $crate::output::write(format_args!($($text)*)) };
}

/// `println!`, with an error where standard output takes no more.
macro_rules! outln {
    ($($text:tt)*) => { $crate::output::write(format_args!("{}\n", format_args!($($text)*))) };
}

pub(crate) use {out, outln};
