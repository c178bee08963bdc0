//! What there is to pack under a folder of records.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use results::analysis;
use results::record::{METRICS, MODEL, PREDICTIONS, Place, RUN, Record, TIMING, scan};

use super::slot::{RunPath, Slot};
use crate::plan::stored::{PLAN, Stored};
use crate::train::checkpoint;

/// Files that belong together: all of them are packed, or none.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) files: Vec<(Slot, PathBuf)>,
}

/// A finished record: what it describes.
pub(super) struct Finished {
    pub(super) run: RunPath,
    pub(super) config: toml::Table,
}

/// What [`find`] found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) records: Vec<Finished>,
    pub(super) groups: Vec<Group>,
}

/// The records, checkpoints and small files under `root`: a folder of experiments, or one of these.
///
/// # Errors
/// Where a folder cannot be read, or a record or a plan is damaged.
pub(super) fn find(root: &Path) -> anyhow::Result<Found> {
    let mut found = Found::default();
    let mut experiments = BTreeSet::new();
    for path in scan(root)? {
        let record = Record::open(&path.dir)?;
        let run = RunPath { folder: path.folder, row: path.row, seed: path.seed };
        let (info, nowhere) = (record.info(), Path::new(""));
        let place = Place::new(&info.experiment, &info.preset, &info.row, info.seed)?.dir(nowhere);
        ensure!(
            place == run.dir(nowhere),
            "{} holds the record of {}: give the folders their names again, or move them elsewhere",
            path.dir.display(),
            place.display()
        );
        let of = |name: &str| (Slot::Record(run.clone(), name.to_owned()), path.dir.join(name));
        let files =
            [RUN, METRICS, TIMING, PREDICTIONS].map(of).into_iter().filter(|(_, path)| path.is_file());
        found.groups.push(Group { files: files.collect() });
        found.groups.extend(record.model().map(|_| Group { files: vec![of(MODEL)] }));
        found.records.push(Finished { run, config: record.info().config.clone() });
        experiments.extend(path.dir.ancestors().nth(2).map(Path::to_owned));
    }
    for dir in checkpoint_dirs(&results::record::real(root)?)? {
        let Some((run, experiment)) = run_of(&dir) else { continue };
        experiments.insert(experiment);
        if found.records.iter().any(|finished| finished.run == run) {
            continue;
        }
        if let Some(path) = checkpoint::newest(&dir)? {
            found.groups.push(Group { files: vec![(Slot::checkpoint(run, &path), path)] });
        }
    }
    for experiment in experiments {
        let folder = experiment.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let plan = experiment.join(PLAN);
        if plan.is_file() {
            Stored::read(&experiment)?;
            found.groups.push(Group { files: vec![(Slot::Plan(folder.clone()), plan)] });
        }
        for path in files_in(&experiment.join(analysis::FOLDER))? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if let Some(slot) = Slot::parse(&format!("{folder}/{}/{name}", analysis::FOLDER)) {
                found.groups.push(Group { files: vec![(slot, path)] });
            }
        }
    }
    ensure!(
        !found.groups.is_empty(),
        "{}: there is no record or checkpoint in this folder; name the --out of `reproduce`",
        root.display()
    );
    Ok(found)
}

/// The folders of checkpoints at most two folders below `root`.
fn checkpoint_dirs(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    let mut level = vec![root.to_owned()];
    for _ in 0..3 {
        let mut below = Vec::new();
        for dir in level {
            for path in entries(&dir)?.into_iter().filter(|path| path.is_dir()) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                if name.starts_with(checkpoint::DIR) {
                    dirs.push(path);
                } else if !name.starts_with('.') {
                    below.push(path);
                }
            }
        }
        level = below;
    }
    Ok(dirs)
}

/// The run of a folder of checkpoints, and the folder of its experiment.
fn run_of(dir: &Path) -> Option<(RunPath, PathBuf)> {
    let (row, experiment) = (dir.parent()?, dir.parent()?.parent()?);
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let any = "epoch-.safetensors";
    let path = format!("{}/{}/{}/{any}", name(experiment)?, name(row)?, name(dir)?);
    match Slot::parse(&path)? {
        Slot::Checkpoint(run, _) => Some((run, experiment.to_owned())),
        _ => None,
    }
}

fn files_in(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    Ok(entries(dir)?.into_iter().filter(|path| path.is_file()).collect())
}

/// The entries of a folder, by name.
fn entries(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let read =
        || -> std::io::Result<Vec<PathBuf>> { fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect() };
    let mut paths = read().with_context(|| format!("cannot read {}", dir.display()))?;
    paths.sort();
    Ok(paths)
}
