//! Tier 2: records against published numbers and against earlier records, by the spread over seeds.
//!
//! A number passes where the 95% interval of its distance shows that it is not worse by [`MARGIN`] of its size, fails
//! where the interval shows that it is worse, and is inconclusive else: with the few seeds of such experiments that is
//! the usual answer, and the honest one. Diversity is no better or worse in itself: it fails where it moved either way.

use std::collections::{BTreeMap, BTreeSet};

use super::golden::moved;
use super::interval::Interval;
use super::{Finding, Section, Verdict};
use crate::Column;
use crate::moments::mean;
use crate::rows;
use crate::table::{Experiment, Row};

/// How much worse a number may be, as a part of its size.
pub const MARGIN: f64 = 0.02;

/// Holds `experiment` to the published table, where there is one for its preset and members. A table that is of something
/// else than these records is not compared; the section says so.
pub fn against_published(experiment: &Experiment) -> Option<Section> {
    if let Some(why) = &experiment.withheld {
        let title = format!("{} against no published table\n  {why}", experiment.folder);
        return Some(Section::of_metrics(title, Vec::new()));
    }
    let reference = experiment.reference.as_ref()?;
    let members = experiment.members.is_none_or(|members| members == reference.members);
    if experiment.preset != reference.preset || !members {
        return None;
    }
    let mut findings = Vec::new();
    for row in &experiment.rows {
        let Some(published) = reference.rows.get(&row.name) else { continue };
        for column in Column::ALL {
            let Some(value) = published.value(column) else { continue };
            let values: Vec<f64> = row.values(column).into_values().collect();
            let distance = Interval::from_published(&values, value, reference.seeds);
            let found = finding(row, column, (value, &values), distance);
            findings.push(unless_bound(row, column, found, || row.bounds().keys().copied().collect()));
        }
    }
    Some(Section::of_metrics(format!("{} against the published table", experiment.folder), findings))
}

/// Holds `experiment` to `earlier` records of the same folder: the seeds that both have, one by one. Where there are none,
/// that is inconclusive.
pub fn against_earlier(experiment: &Experiment, earlier: Option<&Experiment>) -> Section {
    let title = format!("{} against earlier records", experiment.folder);
    let mut findings = Vec::new();
    let Some(earlier) = earlier else {
        let evidence = "not among the earlier records".to_owned();
        findings.push(Finding { what: experiment.folder.clone(), verdict: Verdict::Inconclusive, evidence });
        return Section::of_metrics(title, findings);
    };
    for row in &experiment.rows {
        let Some(before) = earlier.rows.iter().find(|before| before.name == row.name) else {
            let evidence = "not among the earlier records".to_owned();
            findings.push(Finding { what: row.name.clone(), verdict: Verdict::New, evidence });
            continue;
        };
        for column in Column::ALL {
            let pairs = pairs(&row.values(column), &before.values(column));
            if pairs.is_empty() {
                continue;
            }
            let was: Vec<f64> = pairs.iter().map(|(_, was)| *was).collect();
            let is: Vec<f64> = pairs.iter().map(|(is, _)| *is).collect();
            let differences: Vec<f64> = pairs.iter().map(|(is, was)| is - was).collect();
            let distance = match differences.iter().all(|difference| *difference == 0.0) {
                true => Some(Interval { mean: 0.0, low: 0.0, high: 0.0, count: differences.len() }),
                false => Interval::of(&differences),
            };
            let found = finding(row, column, (mean(&was), &is), distance);
            findings.push(unless_bound(row, column, found, || moved_bounds(row, before)));
        }
    }
    for before in &earlier.rows {
        if experiment.rows.iter().all(|row| row.name != before.name) {
            let evidence = "there were records of it earlier, and are none now".to_owned();
            findings.push(Finding { what: before.name.clone(), verdict: Verdict::Inconclusive, evidence });
        }
    }
    Section::of_metrics(title, findings)
}

/// The seeds of both at which a DEE is a bound, and the loss that it is read from is another one.
fn moved_bounds(row: &Row, before: &Row) -> BTreeSet<u64> {
    let (is, was) = (row.values(Column::Cnll), before.values(Column::Cnll));
    let bounds = row.bounds().keys().chain(before.bounds().keys()).copied();
    bounds.filter(|seed| is.contains_key(seed) && was.contains_key(seed) && is[seed] != was[seed]).collect()
}

/// `found`, but inconclusive where the column is DEE and the DEE of some seed is only a bound. Ensembles are exempt: the DEE of
/// DE-n is n by definition.
fn unless_bound(
    row: &Row,
    column: Column,
    found: Finding,
    bounds: impl FnOnce() -> BTreeSet<u64>,
) -> Finding {
    if column != Column::Dee || rows::ensemble_index(&row.name).is_some() {
        return found;
    }
    let bounds = bounds();
    if bounds.is_empty() {
        return found;
    }
    let seeds: Vec<String> = bounds.iter().map(u64::to_string).collect();
    let evidence = format!("{}; a bound and no value on seeds {}", found.evidence, seeds.join(", "));
    Finding { verdict: Verdict::Inconclusive, evidence, ..found }
}

/// The values of the seeds that both have.
pub(super) fn pairs(one: &BTreeMap<u64, f64>, other: &BTreeMap<u64, f64>) -> Vec<(f64, f64)> {
    one.iter().filter_map(|(seed, value)| Some((*value, *other.get(seed)?))).collect()
}

/// `distance` is that of the mean of `values` from `base`.
fn finding(row: &Row, column: Column, (base, values): (f64, &[f64]), distance: Option<Interval>) -> Finding {
    let what = format!("{} {}", row.name, column.name());
    let Some(distance) = distance else {
        let evidence = match values {
            [] => "has no value".to_owned(),
            _ => format!("{}: one seed has no spread", moved(base, mean(values))),
        };
        return Finding { what, verdict: Verdict::Inconclusive, evidence };
    };
    // Distances in the direction of worse; diversity is held from both sides.
    let (low, high) = match column.more_is_better() {
        Some(true) => (-distance.high, -distance.low),
        Some(false) => (distance.low, distance.high),
        None if distance.mean < 0.0 => (-distance.high, -distance.low),
        None => (distance.low, distance.high),
    };
    let margin = MARGIN * base.abs();
    let verdict = if high <= margin {
        Verdict::Pass
    } else if low > 0.0 {
        Verdict::Fail
    } else {
        Verdict::Inconclusive
    };
    let evidence = format!(
        "{}, 95% interval of the difference {:+.4} to {:+.4} over {} seeds",
        moved(base, mean(values)),
        distance.low,
        distance.high,
        distance.count
    );
    Finding { what, verdict, evidence }
}
