//! The runs that a folder tells of itself, whoever began them: by their records, checkpoints and claims.

use std::fs;
use std::path::Path;

use anyhow::Context;
use results::record;

use crate::plan::{Row, Run, is_finished};
use crate::train::{checkpoint, run};

/// The runs in an experiment's folder that are finished or were begun, seed by seed, teachers first.
///
/// # Errors
/// Where the folder or a row's cannot be read.
pub(super) fn runs(folder: &Path) -> anyhow::Result<Vec<Run>> {
    let mut found = Vec::new();
    for row in names(folder)?.iter().filter(|name| !name.starts_with('.')) {
        let dir = folder.join(row);
        if !dir.is_dir() {
            continue;
        }
        let mut seeds: Vec<u64> = names(&dir)?.iter().filter_map(|name| seed(&dir, name)).collect();
        seeds.sort_unstable();
        seeds.dedup();
        let row = Row::from(row.as_str());
        found.extend(seeds.into_iter().map(|seed| Run {
            finished: is_finished(folder, &row, seed),
            row: row.clone(),
            seed,
            needs: Vec::new(),
        }));
    }
    found.sort_by(|a, b| (a.seed, &a.row).cmp(&(b.seed, &b.row)));
    Ok(found)
}

/// The seed of a run that left something of this name in its row's folder.
fn seed(row: &Path, name: &str) -> Option<u64> {
    let of_record = || name.strip_prefix("seed-").filter(|_| row.join(name).join(record::RUN).is_file());
    let begun = name.strip_prefix(checkpoint::DIR).or_else(|| name.strip_prefix(run::CLAIM));
    let seed = begun.or_else(of_record)?;
    seed.parse().ok().filter(|number: &u64| number.to_string() == seed)
}

fn names(dir: &Path) -> anyhow::Result<Vec<String>> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}
