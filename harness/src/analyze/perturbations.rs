//! The perturbations that analyses see networks through: the paper's, and those of every further method that has settings in
//! the experiment, whatever is trained.

use std::collections::{BTreeMap, BTreeSet};

use methods::Method;
use methods::be_kd_ods::BeKdOds;
use results::analysis::{Analysis, Set, TEACHERS};
use toml::Table;

use crate::config::Config;
use crate::plan;

/// The methods whose perturbations every experiment has, in the order of tables.
const PAPER: [&str; 3] = ["be-kd-gaussian", "be-kd-ods", "be-kd-conf-ods"];

/// Whether the analyses need the settings of `method`, whatever is trained.
pub fn always(method: &str) -> bool {
    PAPER.contains(&method)
}

/// A method that perturbs, and the images that it makes.
pub struct Perturbing {
    /// What its images are called.
    pub set: Set,
    /// The method.
    pub method: Box<dyn Method>,
}

/// Every perturbation of an experiment, in the order of tables.
///
/// # Errors
/// Settings that cannot be read; a resolved configuration has none.
pub fn of(config: &Config) -> anyhow::Result<Vec<Perturbing>> {
    let all = methods(config)?.into_iter();
    Ok(all.map(|(name, method)| Perturbing { set: Set::of(name), method }).collect())
}

/// The methods that perturb, by name.
fn methods(config: &Config) -> anyhow::Result<Vec<(&str, Box<dyn Method>)>> {
    // A method without settings has no table.
    let named = config.method.keys().chain(&config.methods).map(String::as_str);
    let others: BTreeSet<&str> = named.filter(|name| !always(name)).collect();
    let mut all = Vec::new();
    for name in PAPER.into_iter().chain(others) {
        let method = plan::method(config, name)?;
        if method.perturbation().is_some() {
            all.push((name, method));
        }
    }
    Ok(all)
}

/// ODS with its settings.
///
/// # Errors
/// As [`of`].
pub fn ods(config: &Config) -> anyhow::Result<BeKdOds> {
    Ok(config.method.get("be-kd-ods").cloned().unwrap_or_default().try_into()?)
}

/// Settings of methods by their names, as analyses keep them.
pub type Settings = BTreeMap<String, Table>;

/// The settings of every perturbation of an experiment: all but the weight of the loss, which no image depends on.
///
/// # Errors
/// As [`of`].
pub fn settings(config: &Config) -> anyhow::Result<Settings> {
    let of = |name: &str| {
        let mut settings = config.method.get(name).cloned().unwrap_or_default();
        // Of another method's images nobody knows that they do not depend on it.
        if always(name) {
            settings.remove("alpha");
        }
        settings
    };
    Ok(methods(config)?.into_iter().map(|(name, _)| (name.to_owned(), of(name))).collect())
}

/// Whether `analysis` saw its networks through every perturbation of these `settings`. One of an earlier version, which did not
/// keep them, is believed; a student of one network is seen through none.
pub fn are_of(settings: &Settings, analysis: &Analysis) -> bool {
    let sets = &analysis.diversity;
    if sets.is_empty() && analysis.row != TEACHERS {
        return true;
    }
    settings.iter().all(|(method, wanted)| match analysis.perturbations.get(method) {
        Some(made) => made == wanted,
        None => sets.is_empty() || sets.contains_key(&Set::of(method)),
    })
}

#[cfg(test)]
mod tests {
    use results::analysis::{Cost, Diversity};

    use super::*;

    fn analysis(sets: &[Set], perturbations: Settings) -> Analysis {
        Analysis {
            row: "be-kd".to_owned(),
            seed: 1,
            cost: Cost { forward_flops: 0, parameters: 0 },
            models: BTreeMap::new(),
            perturbations,
            diversity: sets.iter().map(|set| (set.clone(), Diversity::default())).collect(),
            confidence: None,
            transfer: None,
            remainder: None,
            jacobian: None,
        }
    }

    /// A method of one's own asks for an analysis that has its images; another step for one with that step; an analysis that
    /// keeps no settings is believed; one network has no images to lack.
    #[test]
    fn an_analysis_is_of_the_settings_that_it_keeps() {
        let with = |eta: f64| Table::from_iter([("eta".to_owned(), eta.into())]);
        let settings =
            |own: f64| Settings::from([("be-kd-ods".into(), with(1.0)), ("be-kd-probe".into(), with(own))]);
        let (ods, own) = (Set::Ods, Set::of("be-kd-probe"));
        let kept = analysis(&[ods.clone(), own.clone()], settings(1.0));
        assert!(are_of(&settings(1.0), &kept));
        assert!(!are_of(&settings(2.0), &kept));
        assert!(are_of(&settings(2.0), &analysis(&[ods.clone(), own], Settings::new())));
        assert!(!are_of(&settings(2.0), &analysis(&[ods], Settings::new())));
        assert!(are_of(&settings(2.0), &analysis(&[], settings(1.0))));
    }
}
