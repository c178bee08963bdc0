//! Finding finished records under a folder.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::layout::{RUN, name, seed_of};
use super::run_info::RunInfo;
use crate::{Error, Result, rows};

/// A finished record's place, read off its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordPath {
    /// The folder of the experiment and its preset, such as `quick-smoke`.
    pub folder: String,
    /// The row, such as `teacher-1` or `be-kd`.
    pub row: String,
    /// The seed.
    pub seed: u64,
    /// The record's folder, absolute.
    pub dir: PathBuf,
}

/// The records under `root`, which may be a folder of several `<experiment>-<preset>` folders, one of these, or one of
/// their rows. Sorted by folder, then row in the tables' order ([`rows::order`]), then seed. Drafts and other names that
/// begin with a dot are left out; so is everything that is not `seed-<n>` where that is expected. Where `root` is a row or, as its
/// name and a record say, an experiment, what somebody put aside in a folder of it is left out too.
///
/// # Errors
/// Where it is not there, or a folder cannot be read.
pub fn scan(root: &Path) -> Result<Vec<RecordPath>> {
    // Names are those of the real folder: `.` and `..` have none.
    let root = real(root)?;
    let mut found: Vec<RecordPath> = Vec::new();
    let mut level = vec![root.clone()];
    // A row is at most two folders below a folder of experiments.
    for depth in 0..3 {
        let mut below = Vec::new();
        for dir in level {
            for child in visible(&dir)? {
                match seed_of(&child) {
                    Some(seed) => found.extend(record_path(&dir, seed, child)),
                    None => below.push(child),
                }
            }
        }
        if !found.is_empty() && (depth == 0 || found.iter().any(|path| is_of(path, &root))) {
            break;
        }
        level = below;
    }
    found.sort_by_cached_key(|at| (at.folder.clone(), rows::order(&at.row), at.seed));
    Ok(found)
}

/// The records of the experiment whose folder is `folder`, as [`scan`] but for those that lie deeper, such as in a folder that
/// somebody put them aside in. A folder that is a link has the link's name.
///
/// # Errors
/// As [`scan`].
pub fn scan_one(folder: &Path) -> Result<Vec<RecordPath>> {
    let real = real(folder)?;
    let mut found = scan(&real)?;
    found.retain(|path| path.dir.ancestors().nth(2) == Some(&real));
    if let Some(name) = std::path::absolute(folder).ok().as_deref().and_then(name) {
        found.iter_mut().for_each(|path| path.folder.clone_from(&name));
    }
    Ok(found)
}

/// The folders `<experiment>-<preset>` of the records under `root`, which may also be in one of them ([`scan`]): absolute, in
/// the order of their paths.
///
/// # Errors
/// [`Error::NoRecords`] where there is no record; where a folder cannot be read.
pub fn folders(root: &Path) -> Result<Vec<PathBuf>> {
    let records = scan(root)?;
    let folders = records.iter().filter_map(|record| record.dir.ancestors().nth(2));
    let folders: BTreeSet<PathBuf> = folders.map(Path::to_owned).collect();
    if folders.is_empty() {
        return Err(Error::NoRecords { root: root.to_owned() });
    }
    Ok(folders.into_iter().collect())
}

/// Whether a record is of the experiment and preset that `folder` is named after.
fn is_of(path: &RecordPath, folder: &Path) -> bool {
    RunInfo::read(&path.dir.join(RUN))
        .is_ok_and(|info| name(folder) == Some(format!("{}-{}", info.experiment, info.preset)))
}

/// A folder of records, absolute and without links.
///
/// # Errors
/// [`Error::NoRecords`] where it is not there; where it cannot be opened.
pub fn real(root: &Path) -> Result<PathBuf> {
    fs::canonicalize(root).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::NoRecords { root: root.to_owned() },
        _ => Error::io("open", root)(error),
    })
}

/// The visible folders in `dir`.
fn visible(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let path = entry.path();
        if !hidden && path.is_dir() {
            folders.push(path);
        }
    }
    Ok(folders)
}

fn record_path(row: &Path, seed: u64, dir: PathBuf) -> Option<RecordPath> {
    Some(RecordPath { folder: row.parent().and_then(name)?, row: name(row)?, seed, dir })
}
