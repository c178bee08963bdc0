//! `divkd keep`: finished records in a size that can be committed, with the tables made from what is kept.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use results::analysis::{self, Analysis};
use results::record::{METRICS, PREDICTIONS, Place, Predictions, RUN, Record, RecordPath, TIMING, scan};
use results::table::Table;

use super::table;

use crate::{cli, whole_file};

/// No kept file is larger.
const LARGEST: u64 = 2_000_000;

/// Copies the records under a folder without their weights, predictions in half precision, with the arrays that the
/// figures need, and writes each experiment's `table.csv` and `table.md` from the copies. What is kept already stays as it is.
///
/// # Errors
/// Where something of other content is kept already (nothing is written then), a record is damaged, a kept file would be
/// larger than 2 MB, or a file cannot be written.
pub fn run(args: &cli::Keep) -> anyhow::Result<()> {
    let records = scan(&args.runs)?;
    ensure!(!records.is_empty(), "{}: there is no finished record in this folder", args.runs.display());
    let mut folders: Vec<&RecordPath> = Vec::new();
    for record in &records {
        if folders.last().is_none_or(|first| first.folder != record.folder) {
            folders.push(record);
        }
    }
    let mut stale = Vec::new();
    for record in &records {
        stale.extend(stale_record(record, &args.out)?);
    }
    for record in &folders {
        stale.extend(stale_analyses(record, &args.out)?);
    }
    ensure!(
        stale.is_empty(),
        "what is kept already differs from {}; nothing was written: remove it, or name another --out:\n  {}",
        args.runs.display(),
        stale.join("\n  ")
    );
    for record in &records {
        keep(record, &args.out)?;
    }
    for record in &folders {
        keep_analyses(record, &args.out)?;
    }
    for RecordPath { folder, .. } in folders {
        let folder = args.out.join(folder);
        let table = Table::build(&folder)?;
        table::leave(&folder, &table)?;
        eprintln!("kept {}", folder.display());
    }
    Ok(())
}

/// The place of what is kept of a record.
fn place(record: &RecordPath) -> anyhow::Result<Place> {
    let record = Record::open(&record.dir)?;
    let info = record.info();
    Ok(Place::new(&info.experiment, &info.preset, &info.row, info.seed)?)
}

/// The first file of a kept record that is not what would be kept now, where there is one.
fn stale_record(record: &RecordPath, out: &Path) -> anyhow::Result<Option<String>> {
    let place = place(record)?;
    if !place.is_finished(out) {
        return Ok(None);
    }
    let kept = place.dir(out);
    for name in [RUN, METRICS, TIMING] {
        let (from, kept) = (record.dir.join(name), kept.join(name));
        if content(&from)? != content(&kept)? {
            return Ok(Some(kept.display().to_string()));
        }
    }
    let (from, kept) = (record.dir.join(PREDICTIONS), kept.join(PREDICTIONS));
    let is_same = Predictions::read(&from)?.in_half() == Predictions::read(&kept)?;
    Ok((!is_same).then(|| kept.display().to_string()))
}

/// The kept analyses of a record's experiment that are not what would be kept now.
fn stale_analyses(record: &RecordPath, out: &Path) -> anyhow::Result<Vec<String>> {
    let mut stale = Vec::new();
    for (from, kept) in analyses(record, out)? {
        if kept.is_file() && content(&from)? != content(&kept)? {
            stale.push(kept.display().to_string());
        }
    }
    Ok(stale)
}

/// `None` where there is no such file.
fn content(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    path.is_file().then(|| fs::read(path).with_context(|| path.display().to_string())).transpose()
}

fn keep(record: &RecordPath, out: &Path) -> anyhow::Result<()> {
    let place = place(record)?;
    if place.is_finished(out) {
        return Ok(());
    }
    let draft = place.begin(out)?;
    for name in [RUN, METRICS, TIMING] {
        let from = record.dir.join(name);
        if from.is_file() {
            let to = draft.join(name);
            fs::copy(&from, &to)
                .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        }
    }
    Predictions::read(&record.dir.join(PREDICTIONS))?.write_half(&draft.join(PREDICTIONS))?;
    for name in [RUN, METRICS, TIMING, PREDICTIONS] {
        check_size(&draft.join(name))?;
    }
    place.finish(out)?;
    Ok(())
}

fn check_size(path: &Path) -> anyhow::Result<()> {
    let size = fs::metadata(path).map_or(0, |file| file.len());
    ensure!(
        size <= LARGEST,
        "{}: {size} bytes are more than the {LARGEST} that a kept file may have; keep fewer rows (data.test_rows)",
        path.display()
    );
    Ok(())
}

/// The stored arrays of a record's experiment, all of which can be read, each with the place of what is kept of it.
fn analyses(record: &RecordPath, out: &Path) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let Some(folder) = record.dir.parent().and_then(Path::parent) else { return Ok(Vec::new()) };
    let kept = out.join(&record.folder);
    let paths = |Analysis { row, seed, .. }: &Analysis| {
        (analysis::path(folder, row, *seed), analysis::path(&kept, row, *seed))
    };
    Ok(analysis::scan(folder)?.iter().map(paths).collect())
}

/// Copies the arrays of a record's experiment, where they have been computed and are not kept already.
fn keep_analyses(record: &RecordPath, out: &Path) -> anyhow::Result<()> {
    for (from, kept) in analyses(record, out)? {
        if !kept.is_file() {
            check_size(&from)?;
            whole_file::write(&kept, &fs::read(&from).with_context(|| from.display().to_string())?)?;
        }
    }
    Ok(())
}
