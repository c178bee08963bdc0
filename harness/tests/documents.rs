//! Every `divkd` command line in the documents is one that the program understands, and those that would train on
//! synthetic images plan.

use std::path::{Path, PathBuf};

use clap::Parser;
use harness::cli::{Cli, Command};
use harness::config;
use harness::experiments::Experiment;

fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let markdown = |folder: &Path| {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|e| e == "md")).collect::<Vec<_>>()
    };
    let mut all = markdown(&root);
    all.extend(markdown(&root.join("docs")));
    all
}

/// The command lines in blocks of shell code, as arguments: `divkd ..` and `cargo run --release -- ..`.
fn commands(text: &str) -> Vec<Vec<String>> {
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
            let arguments = arguments.split(" #").next().unwrap_or_default();
            let words = arguments.split_whitespace().map(|word| word.trim_matches(['"', '\'']).to_owned());
            commands.push(std::iter::once("divkd".to_owned()).chain(words).collect());
        }
    }
    commands
}

#[test]
fn every_command_line_is_understood() {
    let mut count = 0;
    for path in documents() {
        for command in commands(&std::fs::read_to_string(&path).unwrap()) {
            let place = format!("{}: {}", path.display(), command.join(" "));
            let cli = Cli::try_parse_from(&command).unwrap_or_else(|error| panic!("{place}\n{error}"));
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
