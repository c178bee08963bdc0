//! `divkd report`: stored records as one page, and as figures, tables and event files. Needs no data and no training.

use std::path::{Path, PathBuf};

use results::record::folders;
use results::report::{ReportFile, Section, files, page};
use results::table::Table;
use results::tensorboard;

use super::table;
use crate::cli::Report;
use crate::train::shared;
use crate::whole_file;

/// The name of the page that `reproduce` leaves in an experiment's folder.
pub const FILE: &str = "report.html";

/// Writes the page, and what else is asked for.
///
/// # Errors
/// Where records are missing or damaged, or a file cannot be written.
pub fn run(args: &Report) -> anyhow::Result<()> {
    let folders = folders(&args.runs)?;
    table::say_unfinished(&folders);
    let sections = folders.iter().map(|folder| Section::read(folder)).collect::<results::Result<Vec<_>>>()?;
    whole_file::write(&args.out, page(&sections).as_bytes())?;
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

/// Writes the tables and the page about the records in `folder`, an experiment's, whose `table` it is, into it, and returns where
/// the page is. One process at a time writes there: others wait.
///
/// # Errors
/// As [`run`]; a signal, the end of the time.
pub(super) fn leave(folder: &Path, table: &Table) -> anyhow::Result<PathBuf> {
    let out = folder.join(FILE);
    let _claim = shared::wait(&folder.join(".tmp-claim-report"))?;
    table::leave(folder, table)?;
    let section = Section::read(folder)?;
    section.sources.source.left_out.iter().for_each(|why| eprintln!("note: {why}"));
    whole_file::write(&out, page(&[section]).as_bytes())?;
    Ok(out)
}

fn write_all(folder: &Path, files: &[ReportFile]) -> anyhow::Result<()> {
    for file in files {
        whole_file::write(&folder.join(&file.path), &file.bytes)?;
    }
    eprintln!("wrote {} files into {}", files.len(), folder.display());
    Ok(())
}
