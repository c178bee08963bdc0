//! `divkd keep`: finished records in a size that can be committed, with the tables made from what is kept.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use results::analysis::{self, Analysis, of_records};
use results::record::{
    METRICS, PREDICTIONS, Place, Predictions, RUN, Record, RecordPath, TIMING, folders, scan, scan_one,
};
use results::table::Table;

use super::table;
use crate::train::record::read_info;
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
    let found = scan(&args.runs)?;
    let mut all = Vec::new();
    for folder in folders(&args.runs)? {
        all.push(Kept::of(&folder, &found, &args.out)?);
    }
    let mut stale = Vec::new();
    for kept in &all {
        for record in &kept.records {
            stale.extend(stale_record(record, &args.out)?);
        }
        stale.extend(stale_analyses(&kept.analyses)?);
    }
    ensure!(
        stale.is_empty(),
        "what is kept already differs from {}; nothing was written: remove it, or name another --out:\n  {}",
        args.runs.display(),
        stale.join("\n  ")
    );
    for Kept { folder, records, analyses } in &all {
        records.iter().try_for_each(|record| keep(record, &args.out))?;
        keep_analyses(analyses)?;
        let table = Table::of_one(folder)?;
        table::leave(folder, &table)?;
        for doubt in table.experiments.iter().flat_map(|experiment| &experiment.doubts) {
            eprintln!("note: {}: {doubt}", folder.display());
        }
        eprintln!("kept {}", folder.display());
    }
    Ok(())
}

/// What is kept of an experiment.
struct Kept {
    /// Where.
    folder: PathBuf,
    records: Vec<RecordPath>,
    /// The stored arrays of these records, each with its place.
    analyses: Vec<(PathBuf, PathBuf)>,
}

impl Kept {
    /// Of those records among `found` that are in `folder`, an experiment's, kept below `out`. Says which analyses are not of its
    /// records.
    fn of(folder: &Path, found: &[RecordPath], out: &Path) -> anyhow::Result<Self> {
        let all = scan_one(folder)?;
        let infos = all.iter().map(|path| read_info(&path.dir)).collect::<anyhow::Result<Vec<_>>>()?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for info in &infos {
            let own = format!("{}-{}", info.experiment, info.preset);
            ensure!(
                own == name,
                "{}: its records are of {own}: move the folder away, or give it back its name",
                folder.display()
            );
        }
        let kept = out.join(&name);
        let (analyses, left_out) = of_records(folder, &infos.iter().collect::<Vec<_>>())?;
        left_out.iter().for_each(|why| eprintln!("note: {name}: {why}"));
        let paths = |Analysis { row, seed, .. }: &Analysis| {
            (analysis::path(folder, row, *seed), analysis::path(&kept, row, *seed))
        };
        let analyses = analyses.iter().map(paths).collect();
        let is_here = |record: &&RecordPath| record.dir.ancestors().nth(2) == Some(folder);
        let records = found.iter().filter(is_here).cloned().collect();
        Ok(Self { folder: kept, records, analyses })
    }
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

/// The kept analyses that are not what would be kept now.
fn stale_analyses(analyses: &[(PathBuf, PathBuf)]) -> anyhow::Result<Vec<String>> {
    let mut stale = Vec::new();
    for (from, kept) in analyses {
        if kept.is_file() && content(from)? != content(kept)? {
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

/// Copies arrays that are not kept already.
fn keep_analyses(analyses: &[(PathBuf, PathBuf)]) -> anyhow::Result<()> {
    for (from, kept) in analyses {
        if !kept.is_file() {
            check_size(from)?;
            whole_file::write(kept, &fs::read(from).with_context(|| from.display().to_string())?)?;
        }
    }
    Ok(())
}
