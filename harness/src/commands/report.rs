//! `divkd report`: stored records as one page, and as figures, tables and event files. Needs no data and no training.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use claims::{Attempt, Claims};
use results::Error;
use results::record::scan;
use results::report::{ReportFile, Section, files, page};
use results::tensorboard;

use crate::cli::Report;

/// The name of the page that `reproduce` leaves in an experiment's folder.
pub const FILE: &str = "report.html";

/// How long to wait before looking again at a page that another process writes.
const PAUSE: Duration = Duration::from_millis(300);

/// Writes the page, and what else is asked for.
///
/// # Errors
/// Where records are missing or damaged, or a file cannot be written.
pub fn run(args: &Report) -> anyhow::Result<()> {
    let sections = folders(&args.runs)?
        .iter()
        .map(|folder| Section::read(folder))
        .collect::<results::Result<Vec<_>>>()?;
    write(&args.out, page(&sections).as_bytes())?;
    eprintln!("wrote {}", args.out.display());
    if let Some(folder) = &args.figures {
        write_all(folder, &files(&sections)?)?;
    }
    if let Some(folder) = &args.tensorboard {
        let events: Vec<ReportFile> =
            sections.iter().flat_map(|section| tensorboard::files(&section.sources)).collect();
        write_all(folder, &events)?;
    }
    Ok(())
}

/// Writes the page about the records in `folder`, an experiment's, into it, and returns where it is. One process at a time
/// writes there: others wait.
///
/// # Errors
/// As [`run`].
pub fn leave_page(folder: &Path) -> anyhow::Result<PathBuf> {
    let out = folder.join(FILE);
    let mut claims = Claims::default();
    loop {
        match claims.take(&folder.join(".tmp-claim-report"))? {
            Attempt::Taken(_claim) => {
                write(&out, page(&[Section::read(folder)?]).as_bytes())?;
                return Ok(out);
            }
            Attempt::Held(_) => thread::sleep(PAUSE),
        }
    }
}

/// The folders `<experiment>-<preset>` of the records under `root`, which may also be in one of them.
fn folders(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found: BTreeMap<String, PathBuf> = BTreeMap::new();
    for record in scan(root)? {
        if let Some(folder) = record.dir.ancestors().nth(2) {
            found.entry(record.folder).or_insert_with(|| folder.to_owned());
        }
    }
    if found.is_empty() {
        return Err(Error::NoRecords { root: root.to_owned() }.into());
    }
    Ok(found.into_values().collect())
}

fn write_all(folder: &Path, files: &[ReportFile]) -> anyhow::Result<()> {
    for file in files {
        write(&folder.join(&file.path), &file.bytes)?;
    }
    eprintln!("wrote {} files into {}", files.len(), folder.display());
    Ok(())
}

/// Writes a file in one rename: a reader sees the old one or the new one.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let name = path.file_name().with_context(|| format!("{} is not the name of a file", path.display()))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let draft = path.with_file_name(format!(".tmp-{}", name.to_string_lossy()));
    let written = File::create(&draft)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        // What is left of a draft is of no use to anyone.
        let _ = fs::remove_file(&draft);
    }
    written.with_context(|| format!("cannot write {}", path.display()))
}
