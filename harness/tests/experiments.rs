//! The experiments that the program carries: what every one of them and each of its presets must be.

use std::collections::BTreeSet;

use harness::config::{self, Override, Resolved};
use harness::experiments::Experiment;
use harness::plan;

fn resolve(name: &str, preset: Option<&str>, set: &[&str]) -> anyhow::Result<Resolved> {
    let overrides: Vec<Override> = set.iter().map(|text| Override::set(text).unwrap()).collect();
    config::resolve(&Experiment::find(name)?, preset, &overrides)
}

/// Every preset resolves, and README's table of experiments lists each experiment with its presets, the default one first.
#[test]
fn every_preset_of_every_experiment_resolves() {
    let mut folders = BTreeSet::new();
    let readme = include_str!("../../README.md");
    for experiment in Experiment::built_in() {
        let presets = experiment.presets().unwrap();
        for preset in &presets {
            let resolved = config::resolve(&experiment, Some(preset), &[]).unwrap();
            assert_eq!(resolved.folder(), format!("{}-{preset}", experiment.name));
            assert!(folders.insert(resolved.folder()), "{} is the name of two", resolved.folder());
        }
        let row = readme.lines().find(|line| line.starts_with(&format!("| `{}` |", experiment.name)));
        let row =
            row.unwrap_or_else(|| panic!("README.md's table of experiments has no {}", experiment.name));
        let cell = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
        assert!(cell.starts_with(&format!(" `{}` (default)", presets[0])), "README.md: {row}");
        let listed: BTreeSet<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert_eq!(listed, presets.iter().map(String::as_str).collect(), "README.md: {row}");
    }
    assert!(folders.len() >= 13, "{folders:?}");
}

/// The experiments that have a preset of this name.
fn with_preset(preset: &str) -> Vec<String> {
    let has = |experiment: &Experiment| experiment.presets().unwrap().iter().any(|own| own == preset);
    let found: Vec<String> = Experiment::built_in().into_iter().filter(has).map(|one| one.name).collect();
    assert!(found.len() >= 4, "{preset}: {found:?}");
    found
}

#[test]
fn every_experiment_opens_with_paper_command_cost_and_expected_result() {
    for experiment in Experiment::built_in() {
        let head: Vec<&str> = experiment.text.lines().take_while(|line| line.starts_with('#')).collect();
        for part in ["# Paper: ", "# Command: ", "# Cost: ", "# Expected: "] {
            assert!(head.iter().any(|line| line.starts_with(part)), "{}: {part}", experiment.path);
        }
    }
}

#[test]
fn every_registered_method_is_used_by_some_experiment() {
    let presets = || Experiment::built_in().into_iter().map(|e| (e.presets().unwrap(), e));
    for entry in methods::registry() {
        let used = presets().any(|(presets, experiment)| {
            presets.iter().any(|preset| {
                let resolved = config::resolve(&experiment, Some(preset), &[]).unwrap();
                resolved.config.methods.iter().any(|name| name == entry.name)
            })
        });
        assert!(used, "{}", entry.name);
    }
}

#[test]
fn every_preset_has_the_papers_rows() {
    for experiment in Experiment::built_in() {
        for preset in experiment.presets().unwrap() {
            let resolved = config::resolve(&experiment, Some(&preset), &[]).unwrap();
            let mut rows = vec!["teacher"];
            rows.extend(results::rows::STUDENTS);
            assert_eq!(resolved.config.methods[..rows.len()], rows, "{}", resolved.folder());
        }
    }
}

#[test]
fn smoke_keeps_four_members_and_three_epochs() {
    for name in with_preset("smoke") {
        let config = resolve(&name, Some("smoke"), &[]).unwrap().config;
        assert_eq!((config.members, config.teachers), (4, 4), "{name}");
        assert!(config.teacher.epochs >= 3 && config.student.epochs >= 3, "{name}");
    }
}

/// What published numbers say that they are of is what the experiment has, or no table would show them.
#[test]
fn published_numbers_are_of_their_experiments() {
    for reference in results::reference::all().unwrap() {
        let experiment = Experiment::find(&reference.experiment).unwrap();
        assert!(experiment.presets().unwrap().contains(&reference.preset), "{}", reference.experiment);
        for preset in experiment.presets().unwrap() {
            let resolved = config::resolve(&experiment, Some(&preset), &[]).unwrap();
            let stored = toml::Table::try_from(&resolved.config).unwrap();
            assert_eq!(reference.excludes(&preset, &stored), None, "{}", resolved.folder());
        }
    }
}

#[test]
fn the_laptop_preset_distils_at_temperature_one() {
    for name in with_preset("laptop") {
        let config = resolve(&name, Some("laptop"), &[]).unwrap().config;
        // Methods of other papers keep theirs; a BatchEnsemble from scratch has none.
        let distilled: Vec<&str> = results::rows::STUDENTS.into_iter().filter(|row| *row != "be").collect();
        for method in distilled {
            let settings = &config.method[method];
            assert_eq!(settings.get("tau").and_then(toml::Value::as_float), Some(1.0), "{name} {method}");
        }
    }
}

/// All of `paper` but the times, which the file's arithmetic gives.
#[test]
fn paper_short_is_the_protocol_in_six_epochs() {
    let short = resolve("cifar10", Some("paper-short"), &[]).unwrap().config;
    let mut paper = resolve("cifar10", Some("paper"), &[]).unwrap().config;
    for (recipe, short) in [(&mut paper.teacher, &short.teacher), (&mut paper.student, &short.student)] {
        assert_eq!((short.epochs, short.schedule.milestones), (6, [1, 4, 6]));
        (recipe.epochs, recipe.schedule.milestones) = (6, [1, 4, 6]);
        (recipe.validate_every, recipe.validate_last) = (1, 1);
    }
    assert_eq!(short, paper);
    let more = resolve("cifar10", Some("paper-short"), &["teachers=8"]).unwrap();
    let runs = plan::Plan::new(&more, std::path::Path::new("nowhere")).unwrap().runs;
    assert_eq!(runs.len(), 3 * (8 + 6));
    assert!(runs.iter().all(|run| run.needs.len() <= 4), "students learn from the first four");
}

/// All of `paper` but what C10_R32_SGD.yaml and C10_R32_BE4.yaml of the authors' repository say otherwise.
#[test]
fn authors_is_the_recipe_of_the_authors_repository() {
    let authors = resolve("cifar10", Some("authors"), &[]).unwrap().config;
    let mut paper = resolve("cifar10", Some("paper"), &[]).unwrap().config;
    let teacher = &mut paper.teacher;
    (teacher.epochs, teacher.batch, teacher.lr, teacher.weight_decay) = (200, 512, 0.4, 4e-4);
    (teacher.schedule.milestones, teacher.validate_every, teacher.validate_last) = ([5, 100, 180], 20, 20);
    let student = &mut paper.student;
    (student.epochs, student.batch, student.lr, student.lr_fast) = (250, 128, 0.1, 0.05);
    (student.schedule.milestones, student.validate_every, student.validate_last) = ([5, 125, 225], 25, 25);
    student.weight_decay = 4e-4;
    assert_eq!(authors, paper);
}

#[test]
fn every_preset_may_be_as_short_as_one_likes() {
    for experiment in Experiment::built_in() {
        for preset in experiment.presets().unwrap() {
            for epochs in 1..=40 {
                let overrides = [Override::set(&format!("epochs={epochs}")).unwrap()];
                config::resolve(&experiment, Some(&preset), &overrides)
                    .unwrap_or_else(|error| panic!("{} {preset}, {epochs} epochs: {error}", experiment.name));
            }
        }
    }
}

/// What is published for an experiment of ours is of what its preset trains, in every setting that both name.
#[test]
fn published_numbers_are_of_our_presets() {
    for reference in results::reference::all().unwrap() {
        let resolved = resolve(&reference.experiment, Some(&reference.preset), &[]).unwrap();
        let config = resolved.table().unwrap();
        assert_eq!(reference.excludes(&reference.preset, &config), None);
        for row in resolved.config.methods.iter().map(String::as_str).chain(["teacher-1"]) {
            assert_eq!(reference.departs(row, &config), None, "{row}");
        }
        let other = resolve(&reference.experiment, Some(&reference.preset), &["method.be-kd.tau=2"]).unwrap();
        assert!(reference.departs("be-kd", &other.table().unwrap()).is_some());
        assert_eq!(reference.departs("be-kd-ods", &other.table().unwrap()), None);
        // A row with a recipe of its own has that; one that nothing is published for departs from nothing.
        let set = ["student.lr=0.3", "recipe.be-kd.lr=0.05", "recipe.be-kd-ods.lr=0.4"];
        let other = resolve(&reference.experiment, Some(&reference.preset), &set).unwrap().table().unwrap();
        let of = |row: &str| reference.departs(row, &other);
        assert_eq!([of("be-kd"), of("kd"), of("teacher-1")], [None, None, None]);
        let own = "recipe.be-kd-ods.lr = 0.4 where the published ones have 0.05";
        assert_eq!(of("be-kd-ods").as_deref(), Some(own));
        assert!(of("be-kd-gaussian").unwrap().starts_with("student.lr = 0.3 "));
    }
}
