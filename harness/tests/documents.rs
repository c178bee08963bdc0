//! Every `divkd` command line in the documents is one that the program understands; those that would train on synthetic
//! images are planned, and those marked `[quick]` in their comment are run.

use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::Parser;
use harness::cli::{Cli, Command};
use harness::config;
use harness::experiments::Experiment;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn documents() -> Vec<PathBuf> {
    let root = root();
    let markdown = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|e| e == "md")).collect::<Vec<_>>()
    };
    let mut all = markdown(&root);
    all.extend(markdown(&root.join("docs")));
    all
}

/// A command line as arguments, the program's name first.
struct Line {
    words: Vec<String>,
    is_quick: bool,
}

/// The command lines in blocks of shell code: `divkd ..` and `cargo run --release -- ..`.
fn commands(text: &str) -> Vec<Line> {
    let mut commands = Vec::new();
    let mut shell = false;
    for line in text.lines() {
        if let Some(language) = line.trim().strip_prefix("```") {
            shell = language == "sh";
            continue;
        }
        let line = line.trim();
        let arguments = line.strip_prefix("divkd ").or_else(|| line.strip_prefix("cargo run --release -- "));
        if let Some(arguments) = arguments.filter(|_| shell) {
            let (arguments, comment) = arguments.split_once(" #").unwrap_or((arguments, ""));
            let words = arguments.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned());
            let words = std::iter::once("divkd".to_owned()).chain(words).collect();
            commands.push(Line { words, is_quick: comment.contains("[quick]") });
        }
    }
    commands
}

#[test]
fn every_command_line_is_understood() {
    let mut count = 0;
    for path in documents() {
        for Line { words, .. } in commands(&std::fs::read_to_string(&path).unwrap()) {
            let place = format!("{}: {}", path.display(), words.join(" "));
            let cli = Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{place}\n{error}"));
            count += 1;
            // Experiments of a reader's own are not there.
            if let Command::Reproduce(args) = cli.command
                && !args.experiment.ends_with(".toml")
            {
                let experiment =
                    Experiment::find(&args.experiment).unwrap_or_else(|e| panic!("{place}: {e}"));
                let resolved = config::resolve(&experiment, args.preset.as_deref(), &args.overrides());
                resolved.unwrap_or_else(|error| panic!("{place}: {error:#}"));
            }
        }
    }
    assert!(count >= 15, "only {count} command lines were found");
}

#[test]
fn quick_lines_run_and_synthetic_ones_plan() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ran, mut planned) = (0, 0);
    for path in documents() {
        for Line { words, is_quick } in commands(&std::fs::read_to_string(&path).unwrap()) {
            let mut process = Process::new(env!("CARGO_BIN_EXE_divkd"));
            process.args(&words[1..]);
            if is_quick {
                process.current_dir(root());
                ran += 1;
            } else if words[1..].starts_with(&["reproduce".to_owned(), "quick".to_owned()]) {
                process.args(["--preset", "smoke", "--dry-run"]).current_dir(folder.path());
                planned += 1;
            } else {
                continue;
            }
            let output = process.output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {}\n{stderr}", path.display(), words.join(" "));
        }
    }
    assert!(ran >= 3 && planned >= 3, "{ran} run, {planned} planned");
}
