//! Every `divkd` command line in the documents is one that the program understands; those that would train on synthetic
//! images are planned, and those marked `[tested]` in their comment are run.

use std::path::{Path, PathBuf};
use std::process::Command as Process;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use harness::cli::{Cli, Command};
use harness::experiments::Experiment;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Markdown file of the repository.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut below = vec![root()];
    while let Some(folder) = below.pop() {
        for path in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" {
                below.push(path);
            } else if name.ends_with(".md") {
                found.push(path);
            }
        }
    }
    found
}

/// A command line as arguments, the program's name first.
struct Line {
    words: Vec<String>,
    is_tested: bool,
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
            commands.push(Line { words, is_tested: comment.contains("[tested]") });
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
            let planned = match cli.command {
                Command::Reproduce(args) => args.planned,
                Command::Run(args) => args.planned,
                Command::Plan(args) => args.planned,
                _ => continue,
            };
            if !planned.experiment.ends_with(".toml") {
                planned.resolve().unwrap_or_else(|error| panic!("{place}: {error:#}"));
            }
        }
    }
    assert!(count >= 15, "only {count} command lines were found");
}

/// Commands within a sentence, between backticks; `a|b` are two. What they leave out is for the reader to add.
#[test]
fn every_mention_of_a_command_is_one() {
    let mut count = 0;
    for path in documents() {
        let text = std::fs::read_to_string(&path).unwrap();
        // Blocks of code are not sentences.
        let sentences = text.split("```").step_by(2).flat_map(|part| part.split('`').skip(1).step_by(2));
        for mention in sentences.filter(|code| code.starts_with("divkd ")) {
            let words: Vec<&str> = mention.split_whitespace().collect();
            let choices = words.iter().map(|word| word.split('|').count()).max().unwrap();
            for choice in 0..choices {
                let of =
                    |word: &&str| word.split('|').nth(choice).or(word.split('|').next()).unwrap().to_owned();
                let kind = Cli::try_parse_from(words.iter().map(of)).err().map(|error| error.kind());
                let is_left_out = matches!(
                    kind,
                    None | Some(
                        ErrorKind::MissingRequiredArgument
                            | ErrorKind::MissingSubcommand
                            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    )
                );
                assert!(is_left_out, "{}: `{mention}`: {kind:?}", path.display());
                count += 1;
            }
        }
    }
    assert!(count >= 20, "only {count} mentions were found");
}

/// The commands that an experiment's file opens with.
#[test]
fn every_experiments_own_commands_resolve() {
    for experiment in Experiment::built_in() {
        let head = experiment.text.lines().take_while(|line| line.starts_with('#'));
        let lines: Vec<&str> = head.filter_map(|line| Some(line.split_once(" divkd ")?.1)).collect();
        assert!(lines.len() >= 2, "{}: {lines:?}", experiment.path);
        for line in lines {
            let words = line.split('(').next().unwrap().split_whitespace();
            let cli = Cli::try_parse_from(std::iter::once("divkd").chain(words)).unwrap_or_else(|error| {
                panic!("{}: divkd {line}\n{error}", experiment.path);
            });
            let Command::Reproduce(args) = cli.command else { panic!("{}: divkd {line}", experiment.path) };
            let place = format!("{}: divkd {line}", experiment.path);
            assert_eq!(args.planned.experiment, experiment.name, "{place}");
            args.planned.resolve().unwrap_or_else(|error| panic!("{place}\n{error:#}"));
        }
    }
}

/// The part of METHODOLOGY.md under a heading of the second level.
fn section(heading: &str) -> String {
    let text = std::fs::read_to_string(root().join("METHODOLOGY.md")).unwrap();
    let (_, after) = text.split_once(&format!("\n## {heading}\n")).expect(heading);
    after.split("\n## ").next().unwrap().to_owned()
}

/// What can be named in a configuration is described: methods, data sets and families of networks.
#[test]
fn everything_that_has_a_name_is_documented() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let named = |text: &str, name: &str| text.contains(&format!("`{name}`"));
    let methods = section("Methods");
    let stub = |text: &str| text.contains("(to be written)");
    assert!(
        !stub(&readme) && !stub(&methods),
        "a stub of `just add-method` is left in README.md or METHODOLOGY.md"
    );
    for entry in methods::registry() {
        let file = root().join(format!("methods/src/{}.rs", entry.name.replace('-', "_")));
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(
            !stub(&text) && !stub(entry.summary),
            "{}: a stub is left there or in the registry",
            entry.name
        );
        assert!(named(&methods, entry.name), "METHODOLOGY.md, Methods: no `{}`", entry.name);
        assert!(named(&readme, entry.name), "README.md: no `{}`", entry.name);
    }
    let data = section("Data");
    for id in datasets::Id::ALL {
        let spec = id.spec();
        assert!(named(&data, id.name()), "METHODOLOGY.md, Data: no `{id}`");
        let described = data.to_lowercase().contains(&spec.title.to_lowercase());
        assert!(described, "METHODOLOGY.md, Data: no {}", spec.title);
        let Some(hub) = &spec.hub else { continue };
        for file in [hub.train.path, hub.test.path] {
            let folder = format!("DIR/{}/{}", hub.repo, file.rsplit_once('/').unwrap().0);
            assert!(readme.contains(&folder), "README.md, Data: no {folder}/.. for {id}");
        }
    }
    let networks = section("Networks");
    for network in harness::model::NETWORKS {
        let family = network.split('-').next().unwrap();
        assert!(networks.contains(&format!("`{family}-")), "METHODOLOGY.md, Networks: no `{family}-..`");
    }
}

/// The help of commands that take an experiment or a data set names them all.
#[test]
fn help_names_every_experiment_and_data_set() {
    let mut program = Cli::command();
    let mut help = |path: &[&str]| {
        let mut command = &mut program;
        for name in path {
            command = command.find_subcommand_mut(name).unwrap();
        }
        command.render_help().to_string()
    };
    for path in [&["reproduce"][..], &["run"], &["plan"], &["predict"]] {
        let text = help(path);
        for experiment in Experiment::built_in() {
            let name = &experiment.name;
            assert!(text.contains(&format!(" {name}, ")), "divkd {} --help: no {name}", path.join(" "));
        }
    }
    for path in [["data", "fetch"], ["data", "verify"]] {
        let text = help(&path);
        for id in datasets::Id::ALL.into_iter().filter(|id| id.spec().hub.is_some()) {
            assert!(text.contains(id.name()), "divkd {} --help: no {id}", path.join(" "));
        }
    }
}

#[test]
fn tested_lines_run_and_synthetic_ones_plan() {
    let folder = tempfile::tempdir().unwrap();
    let (mut ran, mut planned) = (0, 0);
    for path in documents() {
        for Line { words, is_tested } in commands(&std::fs::read_to_string(&path).unwrap()) {
            let mut process = Process::new(env!("CARGO_BIN_EXE_divkd"));
            process.args(&words[1..]);
            if is_tested {
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
