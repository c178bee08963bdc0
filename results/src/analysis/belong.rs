//! Which stored analyses are of the records that they lie beside.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Analysis, TEACHERS, scan};
use crate::Result;
use crate::record::RunInfo;

/// The analyses in an experiment's `folder` that are of its records `infos`, and a sentence on each of the others: one whose
/// rows have no record, whose models are not those that the records kept, or that saw images through a method with other
/// settings than its record's; and one where those that are left saw images through a method with different settings. What
/// records of earlier versions do not say is believed.
///
/// # Errors
/// As [`scan`].
pub fn of_records(folder: &Path, infos: &[&RunInfo]) -> Result<(Vec<Analysis>, Vec<String>)> {
    let (mut own, mut others) = (Vec::new(), Vec::new());
    for analysis in scan(folder)? {
        match stranger(&analysis, infos) {
            Some(why) => others.push(format!(
                "The stored analysis of {} of seed {} is left out: {why}. `divkd reproduce` and `divkd analyze` make it again \
                 where the weights are.",
                analysis.row, analysis.seed
            )),
            None => own.push(analysis),
        }
    }
    others.extend(different(&own));
    Ok((own, others))
}

/// The first method that analyses saw images through with different settings.
fn different(analyses: &[Analysis]) -> Option<String> {
    let mut seen: BTreeMap<&str, &toml::Table> = BTreeMap::new();
    for (method, settings) in analyses.iter().flat_map(|one| &one.perturbations) {
        let first = *seen.entry(method).or_insert(settings);
        if first != settings {
            return Some(format!(
                "The stored analyses saw images through {method} with different settings: {}, and {}.",
                listed(first),
                listed(settings)
            ));
        }
    }
    None
}

/// Why an analysis is not of these records.
fn stranger(analysis: &Analysis, infos: &[&RunInfo]) -> Option<String> {
    let record = |row: &str| infos.iter().find(|info| info.seed == analysis.seed && info.row == row);
    let own = (analysis.row != TEACHERS).then_some(&analysis.row);
    for row in own.into_iter().chain(analysis.models.keys()) {
        let Some(info) = record(row) else { return Some(format!("there is no record of {row}")) };
        let (kept, seen) = (info.models.get(row), analysis.models.get(row));
        if kept.zip(seen).is_some_and(|(kept, seen)| kept != seen) {
            return Some(format!("it is of another {row}"));
        }
    }
    for (method, seen) in &analysis.perturbations {
        let trained = record(method).and_then(|info| info.config.get("method")?.get(method)?.as_table());
        let is_same = |trained: &toml::Table| seen.iter().all(|(key, value)| trained.get(key) == Some(value));
        if trained.is_some_and(|trained| !is_same(trained)) {
            return Some(format!("it saw images through {method} with {}", listed(seen)));
        }
    }
    None
}

/// `alpha = 0.9, eta = 8`.
fn listed(settings: &toml::Table) -> String {
    let one = |(key, value): (&String, &toml::Value)| format!("{key} = {value}");
    settings.iter().map(one).collect::<Vec<_>>().join(", ")
}
