//! The list of methods.

use serde::de::{DeserializeOwned, Error as _};

use crate::method::Method;
use crate::{
    be, be_kd, be_kd_conf_ods, be_kd_gaussian, be_kd_ods, kd, latent_be, latent_be_tdiv_sdiv, teacher,
};

/// A method as commands, files and tables know it.
pub struct Entry {
    /// Name in commands, files and tables.
    pub name: &'static str,
    /// One line on what it does.
    pub summary: &'static str,
    /// Makes the method from its settings table.
    pub from_toml: fn(toml::Table) -> Result<Box<dyn Method>, toml::de::Error>,
}

fn entry<M: Method + DeserializeOwned + 'static>(name: &'static str, summary: &'static str) -> Entry {
    Entry {
        name,
        summary,
        from_toml: |table| {
            let method: M = table.try_into()?;
            method.check().map_err(toml::de::Error::custom)?;
            Ok(Box::new(method))
        },
    }
}

/// Every method, in the order of the table.
pub fn registry() -> &'static [Entry] {
    static REGISTRY: std::sync::OnceLock<Vec<Entry>> = std::sync::OnceLock::new();
    REGISTRY.get_or_init(|| {
        vec![
            entry::<teacher::Teacher>("teacher", "a member of the deep ensemble: cross-entropy"),
            entry::<kd::Kd>("kd", "one plain network distilled from the ensemble's mean prediction"),
            entry::<be::Be>("be", "BatchEnsemble from scratch: cross-entropy"),
            entry::<be_kd::BeKd>("be-kd", "BatchEnsemble distilled one-to-one on clean images"),
            entry::<be_kd_gaussian::BeKdGaussian>("be-kd-gaussian", "the same on images with Gaussian noise"),
            entry::<be_kd_ods::BeKdOds>(
                "be-kd-ods",
                "the same on images perturbed by output diversified sampling",
            ),
            entry::<be_kd_conf_ods::BeKdConfOds>(
                "be-kd-conf-ods",
                "the same with ODS scaled by the confidence",
            ),
            entry::<latent_be::LatentBe>(
                "latent-be",
                "a BatchEnsemble near one plain network, folded into it to predict",
            ),
            entry::<latent_be_tdiv_sdiv::LatentBeTdivSdiv>(
                "latent-be-tdiv-sdiv",
                "the same on images where two teachers differ and their students do not",
            ),
        ]
    })
}

/// The method of this name.
pub fn find(name: &str) -> Option<&'static Entry> {
    registry().iter().find(|entry| entry.name == name)
}
