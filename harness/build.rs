//! Records what the binary was built from: the code's revision, the compiler and candle's version.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
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
    println!("cargo::rustc-env=DIVKD_REVISION={}", revision().as_deref().unwrap_or("unknown"));
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    println!(
        "cargo::rustc-env=DIVKD_RUSTC={}",
        output(&rustc, &["--version"]).as_deref().unwrap_or("unknown")
    );
    println!("cargo::rustc-env=DIVKD_CANDLE={}", candle().as_deref().unwrap_or("unknown"));
}

/// The checkout's commit; with changes, `<commit>-dirty.<hash>` of what was changed and what was added to the sources.
fn revision() -> Option<String> {
    let revision = output("git", &["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"])?;
    if !revision.ends_with("-dirty") {
        return Some(revision);
    }
    let mut hash = DefaultHasher::new();
    printed("git", &["diff", "HEAD", "--", ".."])?.hash(&mut hash);
    let added =
        String::from_utf8(printed("git", &["ls-files", "--others", "--exclude-standard", "..", "-z"])?)
            .ok()?;
    let is_source = |file: &&str| [".rs", ".cu", ".h", ".toml"].iter().any(|ending| file.ends_with(ending));
    for file in added.split('\0').filter(is_source) {
        (file, std::fs::read(file).ok()).hash(&mut hash);
    }
    Some(format!("{revision}.{:08x}", hash.finish() as u32))
}

/// The first line that a command prints, where it succeeds.
fn output(program: &str, args: &[&str]) -> Option<String> {
    Some(String::from_utf8(printed(program, args)?).ok()?.lines().next()?.to_owned())
}

/// What a command prints, where it succeeds.
fn printed(program: &str, args: &[&str]) -> Option<Vec<u8>> {
    let output = Command::new(program).args(args).output().ok()?;
    output.status.success().then_some(output.stdout)
}

/// The version of candle-core in the lock file.
fn candle() -> Option<String> {
    let lock = std::fs::read_to_string("../Cargo.lock").ok()?;
    let at = lock.find("name = \"candle-core\"")?;
    let line = lock[at..].lines().nth(1)?;
    Some(line.trim_start_matches("version = ").trim_matches('"').to_owned())
}
