//! Settings of a recipe that its method fixes: they cannot be set, and the resolved configuration, which records keep, has
//! the values that are trained with.

use std::collections::BTreeSet;

use methods::Optimiser;
use serde::Deserialize as _;

use super::layers::Leaves;
use super::{Config, Problem, RecipeConfig, recipe};
use crate::{model, plan};

/// Settings of a method's own recipe that the method fixes.
pub(super) fn problems(leaves: &Leaves) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, leaf) in leaves {
        let Some((name, setting)) = key.strip_prefix("recipe.").and_then(|rest| rest.split_once('.')) else {
            continue;
        };
        let fixed = recipe::method(name, leaves).map_or(&[][..], |method| method.fixes());
        if let Some((_, what)) = fixed.iter().find(|(fixed, _)| *fixed == setting) {
            let message = format!("`{key}` cannot be set: with {name} it is {what}; leave it out");
            problems.push(Problem { place: leaf.place.clone(), message });
        }
    }
    problems
}

/// Gives every method that fixes settings a recipe with the values that it trains with.
///
/// # Errors
/// Unknown methods and settings that do not fit; a checked configuration has neither.
pub(super) fn fill(config: &mut Config) -> anyhow::Result<()> {
    let names: BTreeSet<String> = config.methods.iter().chain(config.recipe.keys()).cloned().collect();
    for name in names {
        if let Some(recipe) = effective(config, &name)? {
            config.recipe.insert(name, recipe);
        }
    }
    Ok(())
}

/// The recipe of `name` in a record's configuration as [`fill`] has it; `None` where the method fixes nothing, or the
/// configuration is of another version.
pub(super) fn in_table(config: &toml::Table, name: &str) -> Option<toml::Value> {
    let config = Config::deserialize(config.clone()).ok()?;
    let recipe = effective(&config, name).ok()??;
    toml::Value::try_from(recipe).ok()
}

/// The recipe of `name` with what it fixes; `None` where that is nothing.
fn effective(config: &Config, name: &str) -> anyhow::Result<Option<RecipeConfig>> {
    let method = plan::method(config, name)?;
    if method.fixes().is_empty() {
        return Ok(None);
    }
    let recipe = plan::recipe(config, name, method.as_ref());
    let Optimiser { settings, lr, lr_fast, .. } = model::optimiser(recipe, method.as_ref(), config.members);
    Ok(Some(RecipeConfig {
        lr,
        lr_fast,
        momentum: settings.momentum,
        weight_decay: settings.weight_decay,
        weight_decay_fast: settings.weight_decay_fast,
        nesterov: settings.nesterov,
        ..recipe.clone()
    }))
}

#[cfg(test)]
mod tests {
    use crate::config::{self, Override, Resolved, differences, relevant};
    use crate::experiments::Experiment;
    use crate::plan::Row;

    fn resolve(name: &str, set: &[&str]) -> anyhow::Result<Resolved> {
        let overrides: Vec<Override> = set.iter().map(|text| Override::set(text).unwrap()).collect();
        config::resolve(&Experiment::find(name)?, None, &overrides)
    }

    /// LatentBE by METHODOLOGY.md: r and s at M times the rate, decay over M, Nesterov's momentum. M is 4, or 8.
    #[test]
    fn what_a_method_fixes_is_in_the_configuration() {
        for name in ["latent-be", "latent-be-tdiv-sdiv"] {
            let fixed = |experiment: &str, set: &[&str]| {
                let methods = format!("methods=[\"{name}\"]");
                let config = resolve(experiment, &[&[methods.as_str()][..], set].concat()).unwrap().config;
                let own = &config.recipe[name];
                (own.lr, own.lr_fast, own.weight_decay_fast, own.nesterov)
            };
            assert_eq!(fixed("cifar100", &[]), (0.1, 0.4, 5e-4 / 4.0, true));
            assert_eq!(fixed("quick", &[]), (0.05, 0.2, 5e-4 / 4.0, true));
            let set =
                ["student.lr=1", "student.weight_decay=0.5", "members=8", "teachers=8", "student.lr_fast=9"];
            assert_eq!(fixed("quick", &set), (1.0, 8.0, 0.5 / 8.0, true));

            // Even as the value that it has, and where the method is not trained.
            for (setting, what) in [
                ("lr_fast=0.4", "lr times members"),
                ("weight_decay_fast=0", "weight_decay over members"),
                ("nesterov=true", "true"),
            ] {
                let key = setting.split('=').next().unwrap();
                let set = format!("recipe.{name}.{setting}");
                let expected = format!(
                    "--set {set}: `recipe.{name}.{key}` cannot be set: with {name} it is {what}; leave it out"
                );
                let message = resolve("cifar100", &[&set]).unwrap_err().to_string();
                assert!(message.ends_with(&expected), "{message}");
            }
        }
        assert_eq!(resolve("quick", &[]).unwrap().config.recipe.len(), 0);
        assert!(resolve("quick", &["recipe.be.lr_fast=0.4"]).is_ok());
    }

    /// Those have the recipe's own values in place of what the method fixes.
    #[test]
    fn records_of_earlier_versions_are_those_of_the_same_run() {
        let row = Row::Student("latent-be".to_owned());
        for experiment in ["cifar100", "quick"] {
            let now = resolve(experiment, &["methods=[\"latent-be\"]"]).unwrap();
            let mut earlier = now.config.clone();
            match experiment {
                "quick" => earlier.recipe.clear(),
                _ => earlier.recipe.get_mut("latent-be").unwrap().lr_fast = 0.025,
            }
            let was = Resolved { config: earlier, ..now.clone() }.table().unwrap();
            let is = now.table().unwrap();
            let own = |table: &toml::Table| relevant(table, &row);
            assert_eq!(differences(&own(&was), &own(&is)), [""; 0]);
            assert!(!differences(&was, &is).is_empty());
            let other = resolve(experiment, &["methods=[\"latent-be\"]", "student.momentum=0.8"]).unwrap();
            let moved = differences(&own(&was), &own(&other.table().unwrap()));
            assert!(moved.contains(&"recipe.momentum: was 0.9, is 0.8".to_owned()), "{moved:?}");
        }
    }
}
