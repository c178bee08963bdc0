//! What is packed first.

use std::collections::{BTreeMap, BTreeSet};

use results::record::MODEL;
use results::rows;

use super::find::{Finished, Found, Group};
use super::slot::{RunPath, Slot};

/// How much is lost where a file is not packed, the dearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// What was asked for: small.
    Plan,
    /// A finished record without its model: what tables are made from.
    Record,
    /// An analysis: small, and made from models and data.
    Analysis,
    /// The model of a teacher whose seed has students to train.
    NeededModel,
    /// The newest checkpoint of an unfinished run.
    Checkpoint,
    /// Any other model: a run that is trained again makes it again.
    OtherModel,
}

/// Sorts the groups by rank, then by experiment, seed and row.
pub(super) fn sort(found: &mut Found) {
    let unfinished = unfinished_seeds(&found.records);
    let key = |group: &Group| {
        let slot = group.files.first().map(|(slot, _)| slot.clone());
        let order = |run: &RunPath| (run.folder.clone(), run.seed, rows::order(&run.row));
        let rank = slot.as_ref().map_or(Rank::OtherModel, |slot| rank(slot, &unfinished));
        let order = match &slot {
            Some(Slot::Record(run, _) | Slot::Checkpoint(run, _)) => Some(order(run)),
            _ => None,
        };
        (rank, order, slot)
    };
    found.groups.sort_by_cached_key(key);
}

fn rank(slot: &Slot, unfinished: &BTreeSet<(String, u64)>) -> Rank {
    match slot {
        Slot::Record(run, file) if file == MODEL => {
            let needed = rows::teacher_index(&run.row).is_some()
                && unfinished.contains(&(run.folder.clone(), run.seed));
            if needed { Rank::NeededModel } else { Rank::OtherModel }
        }
        Slot::Plan(..) => Rank::Plan,
        Slot::Record(..) => Rank::Record,
        Slot::Analysis(..) => Rank::Analysis,
        Slot::Checkpoint(..) => Rank::Checkpoint,
    }
}

/// Experiment and seed of those repetitions that lack a student which the configuration of one of the experiment's records
/// names.
fn unfinished_seeds(records: &[Finished]) -> BTreeSet<(String, u64)> {
    let mut students: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Finished { run, config } in records {
        let methods = config.get("methods").and_then(toml::Value::as_array);
        let names = methods.into_iter().flatten().filter_map(toml::Value::as_str);
        students.entry(&run.folder).or_default().extend(names.filter(|name| *name != "teacher"));
    }
    let has = |folder: &str, seed: u64, row: &str| {
        records.iter().any(|r| r.run.folder == folder && r.run.seed == seed && r.run.row == row)
    };
    records
        .iter()
        .map(|record| (record.run.folder.as_str(), record.run.seed))
        .filter(|(folder, seed)| students[folder].iter().any(|row| !has(folder, *seed, row)))
        .map(|(folder, seed)| (folder.to_owned(), seed))
        .collect()
}
