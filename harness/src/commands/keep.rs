//! `divkd keep`: finished records in a size that can be committed, with the tables made from what is kept.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use results::analysis;
use results::record::{METRICS, PREDICTIONS, Place, Predictions, RUN, Record, RecordPath, TIMING, scan};
use results::table::{Format, Table};

use crate::cli;

/// No kept file is larger.
const LARGEST: u64 = 2_000_000;

/// Copies the records under a folder without their weights, predictions in half precision, with the arrays that the
/// figures need, and writes each experiment's
/// `table.csv` and `table.md` from the copies. Records that are kept already stay as they are.
///
/// # Errors
/// Where a record is damaged, a kept file would be larger than 2 MB, or a file cannot be written.
pub fn run(args: &cli::Keep) -> anyhow::Result<()> {
    let records = scan(&args.runs)?;
    ensure!(!records.is_empty(), "{}: there is no finished record in this folder", args.runs.display());
    let mut folders: Vec<&str> = Vec::new();
    for record in &records {
        keep(record, &args.out)?;
        if !folders.contains(&record.folder.as_str()) {
            folders.push(&record.folder);
            keep_analyses(record, &args.out)?;
        }
    }
    for folder in folders {
        let folder = args.out.join(folder);
        let table = Table::build(&folder)?;
        for (name, format) in [("table.csv", Format::Csv), ("table.md", Format::Md)] {
            let path = folder.join(name);
            fs::write(&path, table.render(format)).with_context(|| path.display().to_string())?;
        }
        eprintln!("kept {}", folder.display());
    }
    Ok(())
}

fn keep(record: &RecordPath, out: &Path) -> anyhow::Result<()> {
    let info = Record::open(&record.dir)?.info().clone();
    let place = Place::new(&info.experiment, &info.preset, &info.row, info.seed)?;
    if place.is_finished(out) {
        return Ok(());
    }
    let draft = place.begin(out)?;
    for name in [RUN, METRICS, TIMING] {
        let from = record.dir.join(name);
        if from.is_file() {
            fs::copy(&from, draft.join(name)).with_context(|| from.display().to_string())?;
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

/// Copies the arrays of a record's experiment, where they have been computed and are not kept already.
fn keep_analyses(record: &RecordPath, out: &Path) -> anyhow::Result<()> {
    let Some(folder) = record.dir.parent().and_then(Path::parent) else { return Ok(()) };
    for stored in analysis::scan(folder)? {
        let kept = analysis::path(&out.join(&record.folder), &stored.row, stored.seed);
        if !kept.is_file() {
            check_size(&analysis::path(folder, &stored.row, stored.seed))?;
            stored.write(&kept)?;
        }
    }
    Ok(())
}
