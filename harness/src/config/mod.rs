//! The configuration of one experiment: what its TOML file says once a preset and the command line are merged in.
//!
//! A file holds base tables, which name every key, and `[presets.<name>]` tables, which override some of them. On top
//! come the command line's options and `--set key=value`. [`resolve`] merges these layers and reports everything that
//! is wrong with them at once.
//!
//! Two things need not be in the base tables. `recipe.<method>.<key>` gives a method a recipe of its own, which is that of
//! the teachers or students but for the keys that are named, and a method that fixes settings of its optimiser has one in any
//! case, with the values that it trains with. `epochs` shortens or lengthens every recipe in proportion.

mod check;
mod fixed;
mod layers;
mod recipe;
mod report;

use std::collections::{BTreeMap, BTreeSet};

use results::record::{self, Place};
use serde::{Deserialize, Serialize};

use crate::experiments::Experiment;
use crate::plan::Row;
pub(crate) use check::MOST_NETWORKS;
pub use layers::Override;
pub use recipe::RecipeConfig;
pub use report::{ConfigError, Problem};

/// Everything that decides the outcome of an experiment's runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The network of teachers and students, such as `resnet-32` or `wrn-28-10`.
    pub network: String,
    /// M: subnetworks of a BatchEnsemble, and teachers that a student learns from.
    pub members: usize,
    /// Teachers trained per seed, for the curve of the deep ensemble. At least `members`.
    pub teachers: usize,
    /// Repetitions of everything, numbered from 1.
    pub seeds: u64,
    /// The methods of the table, by the registry's names.
    pub methods: Vec<String>,
    /// Batch-norm groups of a training batch (protocol, "Batch-norm groups").
    pub bn_groups: usize,
    /// What is trained and tested on.
    pub data: DataConfig,
    /// How plain networks are trained.
    pub teacher: RecipeConfig,
    /// How BatchEnsemble students are trained.
    pub student: RecipeConfig,
    /// How those methods are trained that have a recipe of their own, among them all used ones that fix a part of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub recipe: BTreeMap<String, RecipeConfig>,
    /// Each method's own settings, read by the method itself.
    #[serde(default)]
    pub method: BTreeMap<String, toml::Table>,
}

/// The data of an experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// `cifar10`, `cifar100`, `tiny-imagenet` or `synthetic`.
    pub dataset: String,
    /// Images to train on.
    pub train_rows: usize,
    /// Images that choose the model and fit the temperature.
    pub val_rows: usize,
    /// Images to test on.
    pub test_rows: usize,
    /// Height and width after averaging the images down by a whole factor.
    pub image: usize,
    /// Random crops and horizontal flips in training.
    pub augment: bool,
    /// Zero padding of the random crop, in pixels.
    pub pad: usize,
    /// Refuse data that lack rows of the protocol.
    pub require_full: bool,
    /// Seed of the split, of the subsets and of synthetic images; the same for every repetition.
    pub seed: u64,
}

/// An experiment with its preset and the user's overrides merged in.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The experiment's name: `cifar100`.
    pub experiment: String,
    /// The preset's name: `paper`.
    pub preset: String,
    /// The merged configuration.
    pub config: Config,
}

impl Resolved {
    /// The folder of this experiment's records: `<experiment>-<preset>`.
    pub fn folder(&self) -> String {
        format!("{}-{}", self.experiment, self.preset)
    }

    /// The configuration as a table, for `run.toml`.
    pub fn table(&self) -> anyhow::Result<toml::Table> {
        Ok(toml::Table::try_from(&self.config)?)
    }
}

/// Merges `preset` of the experiment (its default where `None`) and `overrides` over the experiment's base tables.
///
/// # Errors
/// [`ConfigError`] with every unknown key, wrong type and value out of range, and where a name of experiment or preset cannot
/// be a folder's; an unknown preset on its own.
pub fn resolve(
    experiment: &Experiment,
    preset: Option<&str>,
    overrides: &[Override],
) -> anyhow::Result<Resolved> {
    let mut file = layers::File::parse(experiment)?;
    file.conform(&layers::File::parse(&Experiment::schema())?, &experiment.path);
    let preset = file.preset(preset)?;
    let layers::Merged { mut leaves, mut problems } = file.merge(&preset, overrides);
    // Any row does: their names are the registry's.
    if let Err(error) = Place::new(&experiment.name, &preset, "teacher-1", 1) {
        let message = format!("{error}: the folder of the records has this name");
        problems.push(Problem { place: experiment.path.clone(), message });
    }
    let epochs = leaves.remove(recipe::EPOCHS);
    problems.extend(fixed::problems(&leaves));
    problems.extend(recipe::complete(&mut leaves));
    problems.extend(epochs.iter().flat_map(|epochs| recipe::scaled(&leaves, epochs)));
    let config = match Config::deserialize(layers::table(&leaves)) {
        Ok(mut config) => {
            problems.extend(epochs.and_then(|epochs| recipe::scale(&mut config, &epochs)));
            problems.extend(check::problems(&config, &leaves));
            Some(config)
        }
        // Only a base table that lacks a key or has one of a wrong type gets here.
        Err(error) => {
            let place = experiment.path.clone();
            problems.push(Problem { place, message: error.message().to_owned() });
            None
        }
    };
    match config {
        Some(mut config) if problems.is_empty() => {
            fixed::fill(&mut config)?;
            Ok(Resolved { experiment: experiment.name.clone(), preset, config })
        }
        _ => Err(ConfigError { experiment: experiment.name.clone(), preset, problems }.into()),
    }
}

/// The presets of an experiment, the default one first.
pub(crate) fn presets(experiment: &Experiment) -> anyhow::Result<Vec<String>> {
    Ok(layers::File::parse(experiment)?.presets())
}

/// The parts of a run's configuration that its outcome depends on ([`record::relevant`]). What a method fixes is what it was
/// trained with, also where the table, of an earlier version, says otherwise.
pub fn relevant(config: &toml::Table, row: &Row) -> toml::Table {
    let mut table = record::relevant(config, &row.to_string());
    if let Row::Student(name) = row
        && let Some(recipe) = fixed::in_table(config, name)
    {
        table.remove("student");
        table.insert("recipe".to_owned(), recipe);
    }
    table
}

/// The dotted keys in which two tables differ, each with both values. A student's own recipe ([`relevant`]) is compared with what it
/// is in place of.
pub fn differences(was: &toml::Table, is: &toml::Table) -> Vec<String> {
    let (was, is) = (settings(was), settings(is));
    let show = |setting: Option<&(String, toml::Value)>| {
        setting.map_or_else(|| "nothing".to_owned(), |(_, value)| value.to_string())
    };
    let places: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let differs =
        |place: &&String| was.get(*place).map(|(_, value)| value) != is.get(*place).map(|(_, value)| value);
    places
        .into_iter()
        .filter(differs)
        .map(|place| {
            let (was, is) = (was.get(place), is.get(place));
            let key = is.or(was).map_or(place, |(key, _)| key);
            format!("{key}: was {}, is {}", show(was), show(is))
        })
        .collect()
}

/// A table's values with their dotted keys, by these keys, or in a table that has a `recipe` in place of `student` by what they are
/// in place of.
fn settings(table: &toml::Table) -> BTreeMap<String, (String, toml::Value)> {
    let is_replaced = !table.contains_key("student");
    let place = |key: &str| match key.strip_prefix("recipe.") {
        Some(rest) if is_replaced => format!("student.{rest}"),
        _ => key.to_owned(),
    };
    layers::flatten(table).into_iter().map(|(key, value)| (place(&key), (key, value))).collect()
}
