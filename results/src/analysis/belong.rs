//! Which stored analyses are of the records that they lie beside.

use std::path::Path;

use super::{Analysis, TEACHERS, scan};
use crate::Result;
use crate::record::RunInfo;

/// The analyses in an experiment's `folder` that are of its records `infos`, and a sentence on each of the others: one whose
/// rows have no record, whose models are not those that the records kept, or that saw images through a method with other
/// settings than its record's. What records of earlier versions do not say is believed.
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
    Ok((own, others))
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
        if trained.is_some_and(|trained| trained != seen) {
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
