//! From names and numbers of the configuration to data sets, network shapes and optimiser settings.

use datasets::Id;
use methods::{Method, Optimiser};
use nn::{NetworkSpec, SgdSettings};

use crate::config::{Config, RecipeConfig};
use crate::nearest::UnknownName;

/// The networks that are listed and suggested; wide ones exist in other depths and widths too.
pub const NETWORKS: [&str; 10] = [
    "resnet-8",
    "resnet-14",
    "resnet-20",
    "resnet-32",
    "resnet-44",
    "resnet-56",
    "wrn-10-1",
    "wrn-16-4",
    "wrn-28-4",
    "wrn-28-10",
];

/// The registered method `name`.
///
/// # Errors
/// An unknown name, with the nearest one.
pub fn method(name: &str) -> Result<&'static methods::Entry, UnknownName> {
    let known = || methods::registry().iter().map(|entry| entry.name);
    let is_ensemble = name.strip_prefix("de-").is_some_and(|count| count.parse::<usize>().is_ok());
    methods::find(name).ok_or_else(|| match UnknownName::new("method", name, known()) {
        unknown if is_ensemble => unknown.meaning("teacher", "it is a row of the table, made of teachers"),
        unknown => unknown,
    })
}

/// The data set `name`.
///
/// # Errors
/// An unknown name, with the nearest one.
pub fn dataset(name: &str) -> Result<Id, UnknownName> {
    name.parse().map_err(|_| UnknownName::new("data set", name, Id::ALL.map(Id::name)))
}

/// The plain network `name` for `image` x `image` pixels and `classes` classes.
///
/// # Errors
/// An unknown name, with the rule that it breaks and the nearest one that is listed.
pub fn network(name: &str, image: usize, classes: usize) -> Result<NetworkSpec, UnknownName> {
    let unknown = |error: nn::Error| {
        let reason = match error {
            nn::Error::Spec { reason, .. } => reason,
            other => other.to_string(),
        };
        UnknownName::new("network", name, NETWORKS).because(reason)
    };
    NetworkSpec::named(name, image, classes).map_err(unknown)
}

/// The plain network of an experiment: its size, classes and the normalisation of its data set.
///
/// # Errors
/// An unknown network or data set.
pub fn spec(config: &Config) -> Result<NetworkSpec, UnknownName> {
    let data = dataset(&config.data.dataset)?.spec();
    Ok(network(&config.network, config.data.image, data.classes)?.normalized(data.mean, data.std))
}

/// The optimiser of a recipe, as `method` changes it for ensembles of `members`.
pub fn optimiser(recipe: &RecipeConfig, method: &dyn Method, members: usize) -> Optimiser {
    let settings = SgdSettings {
        momentum: recipe.momentum,
        weight_decay: recipe.weight_decay,
        weight_decay_fast: recipe.weight_decay_fast,
        nesterov: recipe.nesterov,
    };
    let recipe = Optimiser { settings, lr: recipe.lr, lr_fast: recipe.lr_fast, centre: 0.0 };
    method.optimiser(recipe, members)
}
