//! Records what the binary was built from: the code's revision, the compiler and candle's version.

use std::process::Command;

fn main() {
    // The workspace's sources and the checkout's head: either changes what a record must say.
    for folder in ["claims", "random", "metrics", "nn", "methods", "datasets", "results", "harness"] {
        println!("cargo::rerun-if-changed=../{folder}");
    }
    for file in ["../Cargo.lock", "../.git/HEAD", "../.git/index"] {
        if std::path::Path::new(file).exists() {
            println!("cargo::rerun-if-changed={file}");
        }
    }
    let revision = output("git", &["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]);
    println!("cargo::rustc-env=DIVKD_REVISION={}", revision.as_deref().unwrap_or("unknown"));
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    println!(
        "cargo::rustc-env=DIVKD_RUSTC={}",
        output(&rustc, &["--version"]).as_deref().unwrap_or("unknown")
    );
    println!("cargo::rustc-env=DIVKD_CANDLE={}", candle().as_deref().unwrap_or("unknown"));
}

/// The first line that a command prints, where it succeeds.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.lines().next()?.to_owned())
}

/// The version of candle-core in the lock file.
fn candle() -> Option<String> {
    let lock = std::fs::read_to_string("../Cargo.lock").ok()?;
    let at = lock.find("name = \"candle-core\"")?;
    let line = lock[at..].lines().nth(1)?;
    Some(line.trim_start_matches("version = ").trim_matches('"').to_owned())
}
