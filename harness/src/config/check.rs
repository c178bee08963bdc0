//! Ranges and combinations: what types cannot say.

use nn::schedule::Decay;

use super::layers::Leaves;
use super::{Config, Problem, RecipeConfig};
use crate::analyze::perturbations;
use crate::model;

/// Members, teachers and seeds: far beyond what is ever trained.
pub(crate) const MOST_NETWORKS: usize = 1000;
/// Images of a split: twenty times the largest data set's.
const MOST_IMAGES: usize = 2_000_000;
/// Epochs of a recipe, and whatever is counted in them.
pub(super) const MOST_EPOCHS: usize = 1_000_000;
/// Images of a batch.
const MOST_BATCH: usize = 65_536;

/// Everything that is out of range or does not fit together. `leaves` tells where each key was written.
pub(crate) fn problems(config: &Config, leaves: &Leaves) -> Vec<Problem> {
    let mut check = Check { leaves, problems: Vec::new() };
    names(config, &mut check);
    sizes(config, &mut check);
    recipe("teacher", &config.teacher, config, &mut check);
    recipe("student", &config.student, config, &mut check);
    for (name, own) in &config.recipe {
        recipe(&format!("recipe.{name}"), own, config, &mut check);
    }
    settings(config, &mut check);
    check.problems
}

struct Check<'a> {
    leaves: &'a Leaves,
    problems: Vec<Problem>,
}

impl Check<'_> {
    /// Reports `message` for `key` unless `holds`.
    fn that(&mut self, key: &str, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.problem(key, format!("`{key}` {}", message()));
        }
    }

    fn problem(&mut self, key: &str, message: String) {
        // A table's place is that of its first key.
        let leaf = self.leaves.get(key).or_else(|| {
            let below = format!("{key}.");
            self.leaves.iter().find(|(key, _)| key.starts_with(&below)).map(|(_, leaf)| leaf)
        });
        let place = leaf.map_or_else(|| key.to_owned(), |leaf| leaf.place.clone());
        self.problems.push(Problem { place, message });
    }

    fn at_least(&mut self, key: &str, value: usize, least: usize) {
        self.that(key, value >= least, || format!("must be at least {least}, found {value}"));
    }

    /// A count of something that takes memory, or a line of the plan, each: a slip must not exhaust the machine.
    fn count(&mut self, key: &str, value: usize, most: usize) {
        self.that(key, (1..=most).contains(&value), || format!("must be 1 to {most}, found {value}"));
    }

    fn within(&mut self, key: &str, value: f64, low: f64, high: f64) {
        let holds = value.is_finite() && (low..=high).contains(&value);
        self.that(key, holds, || match high {
            f64::MAX => format!("must be at least {low} and finite, found {value}"),
            _ => format!("must be between {low} and {high}, found {value}"),
        });
    }
}

fn names(config: &Config, check: &mut Check<'_>) {
    if let Err(error) = crate::model::dataset(&config.data.dataset) {
        check.problem("data.dataset", error.to_string());
    }
    if let Err(error) = crate::model::network(&config.network, 32, 10) {
        check.problem("network", error.to_string());
    }
    for name in &config.methods {
        if let Err(unknown) = model::method(name) {
            check.problem("methods", unknown.to_string());
        }
    }
    check.that("methods", !config.methods.is_empty(), || "must name at least one method".to_owned());
    let repeated = config.methods.iter().enumerate().find(|(at, name)| config.methods[..*at].contains(name));
    if let Some((_, name)) = repeated {
        check.problem("methods", format!("`methods` names {name} twice"));
    }
}

fn sizes(config: &Config, check: &mut Check<'_>) {
    check.count("members", config.members, MOST_NETWORKS);
    check.that("teachers", config.teachers >= config.members, || {
        let (members, teachers) = (config.members, config.teachers);
        format!("must be at least members = {members}, found {teachers}: --members {members} raises both")
    });
    check.that("teachers", config.teachers <= MOST_NETWORKS, || {
        format!("must be at most {MOST_NETWORKS}, found {}", config.teachers)
    });
    check.count("seeds", usize::try_from(config.seeds).unwrap_or(usize::MAX), MOST_NETWORKS);
    check.at_least("bn_groups", config.bn_groups, 1);
    let data = &config.data;
    for (key, rows) in [
        ("data.train_rows", data.train_rows),
        ("data.val_rows", data.val_rows),
        ("data.test_rows", data.test_rows),
    ] {
        check.count(key, rows, MOST_IMAGES);
    }
    check.that("data.pad", data.pad < data.image.max(1), || {
        format!("must be below data.image = {}, found {}", data.image, data.pad)
    });
    if let Ok(id) = crate::model::dataset(&data.dataset) {
        let spec = id.spec();
        let (full, most) = (spec.image, spec.rows);
        // Synthetic images are as many as are asked for.
        for (key, rows, most) in [
            ("data.train_rows", data.train_rows, most.train),
            ("data.val_rows", data.val_rows, most.val),
            ("data.test_rows", data.test_rows, most.test),
        ] {
            check.that(key, spec.hub.is_none() || rows <= most, || {
                format!("must be at most {most}, as the protocol splits {id}, found {rows}")
            });
        }
        let holds = data.image >= 4 && full.is_multiple_of(data.image);
        check.that("data.image", holds, || {
            format!("must divide the images' {full} pixels and be at least 4, found {}", data.image)
        });
    }
}

fn recipe(name: &str, recipe: &RecipeConfig, config: &Config, check: &mut Check<'_>) {
    let key = |key: &str| format!("{name}.{key}");
    check.count(&key("epochs"), recipe.epochs, MOST_EPOCHS);
    check.that(&key("batch"), recipe.batch >= config.bn_groups.max(1), || {
        let least = config.bn_groups.max(1);
        format!("must be at least bn_groups = {least}, found {}", recipe.batch)
    });
    check.that(&key("batch"), recipe.batch <= MOST_BATCH, || {
        format!("must be at most {MOST_BATCH}, found {}", recipe.batch)
    });
    check.within(&key("lr"), recipe.lr, 0.0, f64::MAX);
    check.within(&key("lr_fast"), recipe.lr_fast, 0.0, f64::MAX);
    check.within(&key("momentum"), recipe.momentum, 0.0, 1.0);
    check.within(&key("weight_decay"), recipe.weight_decay, 0.0, 1.0);
    check.within(&key("weight_decay_fast"), recipe.weight_decay_fast, 0.0, 1.0);
    check.that(&key("nesterov"), !recipe.nesterov || recipe.momentum > 0.0, || {
        format!("needs {name}.momentum above 0")
    });
    check.count(&key("validate_every"), recipe.validate_every, MOST_EPOCHS);
    check.count(&key("validate_last"), recipe.validate_last, MOST_EPOCHS);
    let [warm, decay, end] = recipe.schedule.milestones;
    // Epochs are counted from 1, those that are over from 0.
    let first = usize::from(recipe.schedule.decay == Decay::Linear);
    check.that(&key("schedule.milestones"), first <= warm && warm <= decay && decay < end, || {
        format!(
            "must rise from {first} or more (warm-up's end <= decay's start < decay's end), \
             found {warm}, {decay}, {end}"
        )
    });
    // A schedule has no fewer than two epochs; the first may be all that there are.
    check.that(&key("schedule.milestones"), end <= recipe.epochs.max(2), || {
        format!(
            "must end by epoch {} ({name}.epochs), found {end}: --epochs N shortens all in proportion",
            recipe.epochs
        )
    });
    check.within(&key("schedule.warmup_factor"), recipe.schedule.warmup_factor, 0.0, 1.0);
    check.within(&key("schedule.gamma"), recipe.schedule.gamma, 0.0, 1.0);
}

/// The methods read their own tables, and every table belongs to a method. The tables of the perturbations are there whatever is
/// trained, for the analyses see teachers and students through them.
fn settings(config: &Config, check: &mut Check<'_>) {
    let used = |name: &str| {
        config.method.contains_key(name)
            || config.methods.iter().any(|used| used == name)
            || perturbations::always(name)
    };
    for entry in methods::registry().iter().filter(|entry| used(entry.name)) {
        let table = config.method.get(entry.name).cloned().unwrap_or_default();
        let why = match config.method.contains_key(entry.name) {
            false if perturbations::always(entry.name) => {
                ": its table is missing, which the analyses need whatever is trained"
            }
            false => ": its table is missing",
            true => "",
        };
        if let Err(error) = (entry.from_toml)(table) {
            for message in error.message().lines() {
                setting(entry.name, message, why, check);
            }
        }
    }
    for name in config.method.keys() {
        if let Err(unknown) = model::method(name) {
            check.problem(&format!("method.{name}"), unknown.to_string());
        }
    }
}

/// Reports what the method `name` says of its table. The methods' messages name the setting that they mean.
fn setting(name: &str, message: &str, why: &str, check: &mut Check<'_>) {
    let table = format!("method.{name}");
    let is_named = |key: &&String| {
        let setting = key.strip_prefix(&table).and_then(|key| key.strip_prefix('.'));
        setting.is_some_and(|setting| message.split(|c| " `,".contains(c)).any(|word| word == setting))
    };
    let key = check.leaves.keys().find(is_named).unwrap_or(&table).clone();
    check.problem(&key, format!("[{table}] {message}{why}"));
}
