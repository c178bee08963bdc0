//! `divkd keep`: finished records in a size that can be committed, with the tables made from what is kept.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use results::record::{METRICS, PREDICTIONS, Place, Predictions, RUN, Record, RecordPath, TIMING, scan};
use results::table::{Format, Table};

use crate::cli;
use crate::diversity::TRAIN_KLD;

/// No kept file is larger.
const LARGEST: u64 = 2_000_000;

/// Copies the records under a folder without their weights, predictions in half precision, and writes each experiment's
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
            copy_diversity(record, &args.out)?;
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
        let path = draft.join(name);
        let size = fs::metadata(&path).map_or(0, |file| file.len());
        ensure!(
            size <= LARGEST,
            "{}: {size} bytes are more than the {LARGEST} that a kept file may have; keep fewer rows (data.test_rows)",
            path.display()
        );
    }
    place.finish(out)?;
    Ok(())
}

/// Copies the teachers' diversity of a record's experiment, where it has been computed.
fn copy_diversity(record: &RecordPath, out: &Path) -> anyhow::Result<()> {
    let Some(folder) = record.dir.parent().and_then(Path::parent) else { return Ok(()) };
    let from = folder.join(TRAIN_KLD);
    if from.is_file() {
        let to = out.join(&record.folder).join(TRAIN_KLD);
        fs::copy(&from, &to).with_context(|| to.display().to_string())?;
    }
    Ok(())
}
