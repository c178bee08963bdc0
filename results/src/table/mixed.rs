//! Whether the records of one experiment belong together.

use std::collections::{BTreeMap, BTreeSet};

use crate::dotted::keys;
use crate::record::{Record, relevant};
use crate::rows;

/// The paper's rows that differ in nothing but how images are perturbed.
const ALIKE: [&str; 4] = ["be-kd", "be-kd-gaussian", "be-kd-ods", "be-kd-conf-ods"];

/// What speaks against one table of `records`, a sentence each: settings, data or precisions that differ, rows whose settings the
/// paper has alike, students that learned from other teachers, teachers after a gap.
pub(super) fn doubts(records: &[Record]) -> Vec<String> {
    let settings = settings(records).into_iter().chain(unlike(records));
    settings.chain(teachers(records)).chain(gaps(records)).collect()
}

/// Where the rows of [`ALIKE`] have other settings or recipes.
fn unlike(records: &[Record]) -> Option<String> {
    let mut seen: BTreeMap<String, (String, &str)> = BTreeMap::new();
    let (mut first, mut others) = (None, 0);
    for row in ALIKE {
        let Some(record) = records.iter().find(|record| record.info().row == row) else { continue };
        let mut found = Vec::new();
        keys(&relevant(&record.info().config, row), "", &mut found);
        for (key, value) in found {
            // A recipe of its own stands in the place of the students'.
            let key = match key.split_once('.') {
                Some(("method", key)) => key.to_owned(),
                Some(("student" | "recipe", key)) => key.to_owned(),
                _ => continue,
            };
            let value = value.to_string();
            match seen.get(&key) {
                Some((known, by)) if *known != value => match first {
                    None => first = Some(format!("{row} has {key} = {value}, {by} has {known}")),
                    Some(_) => others += 1,
                },
                Some(_) => {}
                None => drop(seen.insert(key, (value, row))),
            }
        }
    }
    let more = if others > 0 { format!(" (and {others} more such differences)") } else { String::new() };
    first.map(|first| {
        format!("{first}{more}; the paper compares rows that differ in how images are perturbed, and in nothing else.")
    })
}

/// Where records differ in what both of them say. Later versions say more than earlier ones.
fn settings(records: &[Record]) -> Option<String> {
    let mut seen: BTreeMap<String, (String, String)> = BTreeMap::new();
    let (mut first, mut others) = (None, 0);
    for record in records {
        let label = label(record);
        for (key, value) in inputs(record) {
            match seen.get(&key) {
                Some((known, by)) if *known != value => match first {
                    None => first = Some(format!("{label} has {key} = {value}, {by} has {known}")),
                    Some(_) => others += 1,
                },
                Some(_) => {}
                None => drop(seen.insert(key, (value, label.clone()))),
            }
        }
    }
    let more = if others > 0 { format!(" (and {others} more such differences)") } else { String::new() };
    first.map(|first| format!("These records were not made alike: {first}{more}."))
}

/// What a record's outcome depends on, by names that are the same for all records that share it.
fn inputs(record: &Record) -> BTreeMap<String, String> {
    let info = record.info();
    let mut found = Vec::new();
    keys(&relevant(&info.config, &info.row), "", &mut found);
    let named = |key: String| match key.split_once('.') {
        Some((table @ ("method" | "recipe"), rest)) => format!("{table}.{}.{rest}", info.row),
        _ => key,
    };
    let mut all: BTreeMap<String, String> =
        found.into_iter().map(|(key, value)| (named(key), value.to_string())).collect();
    let rows = &info.data.rows;
    for (split, count) in [("training", rows.train), ("validation", rows.val), ("test", rows.test)] {
        all.insert(format!("{split} images"), count.to_string());
    }
    for (file, hash) in &info.data.sha256 {
        all.insert(format!("the hash of {file}"), hash.clone());
    }
    let precision = info.device.split(' ').find(|word| ["tf32", "bf16"].contains(word)).unwrap_or("f32");
    all.insert("precision".to_owned(), precision.to_owned());
    all
}

/// Students whose teachers are not the ones that lie beside them.
fn teachers(records: &[Record]) -> Vec<String> {
    let mut found = Vec::new();
    for student in records.iter().map(Record::info) {
        for other in records.iter().map(Record::info) {
            let learned = student.models.get(&other.row).zip(other.models.get(&other.row));
            if student.seed == other.seed && learned.is_some_and(|(learned, is)| learned != is) {
                found.push(format!(
                    "{} of seed {} learned from another {} than the one that is here.",
                    student.row, student.seed, other.row
                ));
            }
        }
    }
    found
}

/// Seeds whose teachers have a gap: the curve of ensembles ends there.
fn gaps(records: &[Record]) -> Vec<String> {
    let mut by_seed: BTreeMap<u64, BTreeSet<usize>> = BTreeMap::new();
    for info in records.iter().map(Record::info) {
        if let Some(n) = rows::teacher_index(&info.row) {
            by_seed.entry(info.seed).or_default().insert(n);
        }
    }
    let gap = |(seed, teachers): (u64, BTreeSet<usize>)| {
        let missing = (1..).find(|n| !teachers.contains(n))?;
        let beyond = teachers.range(missing..).count();
        (beyond > 0).then(|| {
            format!("Seed {seed} has no teacher-{missing}: {beyond} teachers after it are in no ensemble.")
        })
    };
    by_seed.into_iter().filter_map(gap).collect()
}

fn label(record: &Record) -> String {
    format!("{}/seed-{}", record.info().row, record.info().seed)
}
