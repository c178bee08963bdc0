//! The names of a record's files and folders.

use std::path::Path;

/// File name of the run's description.
pub const RUN: &str = "run.toml";
/// File name of the epochs' losses and accuracies.
pub const METRICS: &str = "metrics.csv";
/// File name of the epochs' wall times.
pub const TIMING: &str = "timing.csv";
/// File name of the predictions.
pub const PREDICTIONS: &str = "predictions.safetensors";
/// File name of the kept model.
pub const MODEL: &str = "model.safetensors";

/// Prefix of a draft's folder name; names that begin with a dot are no records.
pub(super) const DRAFT: &str = ".tmp-";

/// The name of a seed's folder: `seed-<n>`.
pub(super) fn seed_folder(seed: u64) -> String {
    format!("seed-{seed}")
}

/// The seed where `dir` is named `seed-<n>` in its one spelling.
pub(super) fn seed_of(dir: &Path) -> Option<u64> {
    let seed = dir.file_name()?.to_str()?.strip_prefix("seed-")?.parse().ok()?;
    (dir.file_name()?.to_str()? == seed_folder(seed)).then_some(seed)
}

/// The last part of `path`, where it has one.
pub(super) fn name(path: &Path) -> Option<String> {
    path.file_name().map(|name| name.to_string_lossy().into_owned())
}
