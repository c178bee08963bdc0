//! The files of a finished run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;

use anyhow::{Context, ensure};
use nn::Network;
use results::record::{self, DataInfo, LogRow, Place, Predictions, RunInfo, SplitRows};
use sha2::{Digest as _, Sha256};

use super::run::Session;
use super::training::Training;
use crate::plan::{Row, Run, run_dir};

/// Version of the protocol that the code follows; another one makes records that do not belong in one table.
pub const PROTOCOL: &str = "1";

/// The commit that the program was built from, and which changes to it.
pub const REVISION: &str = env!("DIVKD_REVISION");

/// A revision with as much of the commit as people write.
pub fn short(revision: &str) -> String {
    let (commit, changes) = revision.split_once('-').unwrap_or((revision, ""));
    let commit: String = commit.chars().take(7).collect();
    if changes.is_empty() { commit } else { format!("{commit}-{changes}") }
}

/// Keys of what a checkpoint depends on beyond [`inputs`], where they are not the usual ones.
pub const PRECISION: &str = "precision";
/// See [`PRECISION`].
pub const MICRO_BATCH: &str = "micro-batch";

/// SHA-256 in hexadecimal of models' files, by the rows of their records.
pub type Models = BTreeMap<String, String>;

/// The hashes of the models that `rows` of `seed` have in `folder`, an experiment's.
///
/// # Errors
/// Where one cannot be read, or is not what its run kept.
pub fn models<'a>(
    folder: &Path,
    seed: u64,
    rows: impl IntoIterator<Item = &'a Row>,
) -> anyhow::Result<Models> {
    let hash = |row: &Row| {
        let dir = run_dir(folder, row, seed);
        let path = dir.join(record::MODEL);
        ensure!(
            path.is_file(),
            "{} is needed and not there: restore it, or remove {} and start the same command again",
            path.display(),
            dir.display()
        );
        let (row, found) = (row.to_string(), sha256(&path)?);
        ensure!(
            read_info(&dir)?.models.get(&row).is_none_or(|kept| *kept == found),
            "{} is not the model that its run kept: restore it, or remove {} and train it again",
            path.display(),
            dir.display()
        );
        Ok((row, found))
    };
    rows.into_iter().map(hash).collect()
}

/// SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// Where it cannot be read.
pub fn sha256(path: &Path) -> anyhow::Result<String> {
    let what = || format!("cannot read {}", path.display());
    let mut hash = Sha256::new();
    io::copy(&mut File::open(path).with_context(what)?, &mut hash).with_context(what)?;
    Ok(format!("{:x}", hash.finalize()))
}

/// What was run, on what, from which data; `models` are the one that is kept and its teachers'.
fn info(session: &Session<'_>, run: &Run, models: Models) -> anyhow::Result<RunInfo> {
    let versions = [
        ("divkd", env!("CARGO_PKG_VERSION")),
        ("candle", env!("DIVKD_CANDLE")),
        ("rustc", env!("DIVKD_RUSTC")),
    ];
    Ok(RunInfo {
        protocol: PROTOCOL.to_owned(),
        experiment: session.resolved.experiment.clone(),
        preset: session.resolved.preset.clone(),
        row: run.row.to_string(),
        seed: run.seed,
        command: session.command.to_owned(),
        revision: REVISION.to_owned(),
        device: session.device.name.clone(),
        machine: Some(session.device.machine.clone()),
        threads: rayon::current_num_threads(),
        versions: versions.map(|(name, version)| (name.to_owned(), version.to_owned())).into(),
        models,
        data: data(session.splits),
        config: session.resolved.table()?,
    })
}

/// Where the data came from, in a record's terms.
pub fn data(splits: &datasets::Splits) -> DataInfo {
    let provenance = &splits.provenance;
    let source = match &provenance.revision {
        Some(revision) => format!("{} {} at {revision}", provenance.source, provenance.dataset),
        None if provenance.dataset == datasets::Id::Synthetic => provenance.source.clone(),
        None => format!("{} {}", provenance.source, provenance.dataset),
    };
    let rows = splits.rows();
    DataInfo {
        source,
        note: provenance.note.clone(),
        rows: SplitRows { train: rows.train, val: rows.val, test: rows.test },
        sha256: provenance.sha256.clone(),
    }
}

/// Writes a trained run's files into its draft folder and gives the folder its name. `network` is the one to keep, `teachers`
/// what it learned from.
///
/// # Errors
/// Where a file cannot be written or the record exists already.
pub fn write(
    session: &Session<'_>,
    run: &Run,
    place: &Place,
    (network, training): (&Network, &Training),
    predictions: &Predictions,
    teachers: &Models,
) -> anyhow::Result<()> {
    let draft = place.begin(session.out)?;
    let file = |name: &str| draft.join(name);
    predictions.write(&file(record::PREDICTIONS))?;
    LogRow::write_all(&training.epochs, &file(record::METRICS))?;
    LogRow::write_all(&training.timing, &file(record::TIMING))?;
    network.save(&file(record::MODEL))?;
    let mut models = teachers.clone();
    models.insert(run.row.to_string(), sha256(&file(record::MODEL))?);
    info(session, run, models)?.write(&file(record::RUN))?;
    place.finish(session.out)?;
    Ok(())
}

/// The description of a finished run.
///
/// # Errors
/// Where it cannot be read.
pub fn read_info(dir: &Path) -> anyhow::Result<RunInfo> {
    RunInfo::read(&dir.join(record::RUN)).with_context(|| format!("record {}", dir.display()))
}

/// What a run's outcome depends on, for comparison: its part of the configuration, and its data's hashes and rows.
pub fn inputs(config: &toml::Table, data: &DataInfo, row: &Row) -> toml::Table {
    let mut table = crate::config::relevant(config, row);
    let mut found = BTreeMap::from([
        ("train rows".to_owned(), data.rows.train.to_string()),
        ("validation rows".to_owned(), data.rows.val.to_string()),
        ("test rows".to_owned(), data.rows.test.to_string()),
    ]);
    found.extend(data.sha256.iter().map(|(file, hash)| (format!("sha256 of {file}"), hash.clone())));
    let found = found.into_iter().map(|(key, value)| (key, toml::Value::String(value))).collect();
    table.insert("data found".to_owned(), toml::Value::Table(found));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_shortened_and_keep_what_tells_them_apart() {
        assert_eq!(short("0123456789abcdef"), "0123456");
        assert_eq!(short("0123456789abcdef-dirty.12ab34cd"), "0123456-dirty.12ab34cd");
        assert_eq!(short("unknown"), "unknown");
    }
}
