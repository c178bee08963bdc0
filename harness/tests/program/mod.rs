//! The program, as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `divkd` in `folder`.
pub(crate) fn divkd(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_divkd"));
    // The width of a developer's terminal changes how help is wrapped.
    command.args(args).env_remove("COLUMNS").current_dir(folder).output().expect("the binary runs")
}

/// What it printed.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
