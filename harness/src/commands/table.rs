//! `divkd table`: the table of stored records. Needs no data and no training.

use std::path::{Path, PathBuf};

use results::record::folders;
use results::table::{Format, Table};

use crate::nearest::UnknownName;
use crate::output::out;
use crate::plan::stored::Stored;
use crate::{cli, whole_file};

/// The tables that are left beside records.
pub(super) const LEFT: [(&str, Format); 2] = [("table.csv", Format::Csv), ("table.md", Format::Md)];

/// Prints the table of the records under the folder.
///
/// # Errors
/// An unknown format; records that are missing or damaged.
pub fn run(args: &cli::Table) -> anyhow::Result<()> {
    let format = format(&args.format)?;
    let table = Table::build(&args.dir)?;
    say_unfinished(&folders(&args.dir)?);
    out!("{}", if args.each_seed { table.each_seed() } else { table.render(format) })
}

/// Says on standard error which of the experiments' `folders` lack runs that were asked for: what is made of the others may look
/// whole.
pub(super) fn say_unfinished(folders: &[PathBuf]) {
    for folder in folders {
        match Stored::unfinished(folder) {
            Ok(None) => {}
            Ok(Some(missing)) => eprintln!("note: {missing}"),
            Err(error) => eprintln!("note: {error:#}"),
        }
    }
}

/// Writes the tables that are left beside the records in `folder`.
///
/// # Errors
/// Where a file cannot be written.
pub(super) fn leave(folder: &Path, table: &Table) -> anyhow::Result<()> {
    LEFT.iter().try_for_each(|(name, format)| {
        whole_file::write(&folder.join(name), table.render(*format).as_bytes())
    })
}

/// The format `name`.
///
/// # Errors
/// An unknown name, with the nearest one.
pub(super) fn format(name: &str) -> Result<Format, UnknownName> {
    name.parse().map_err(|_| UnknownName::new("format", name, Format::ALL.map(Format::name)))
}
