//! `divkd report` on the committed records: the page in a real browser, the event files in the real TensorBoard.

mod browser;
mod chromium;
mod command;
#[path = "../faults/require.rs"]
mod require;
mod tensorboard;

use std::path::PathBuf;
use std::process::{Command, Output};

/// The committed records.
fn records() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../results/runs/cifar10-laptop")
}

fn divkd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_divkd")).args(args).output().expect("the binary runs")
}

/// Runs `divkd report` on the committed records with more arguments.
fn report(more: &[&str]) {
    let records = records();
    let output = divkd(&[&["report", records.to_str().unwrap()], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
