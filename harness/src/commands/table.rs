//! `divkd table`: the table of stored records. Needs no data and no training.

use results::table::{Format, Table};

use crate::cli;
use crate::nearest::UnknownName;
use crate::output::out;

/// Prints the table of the records under the folder.
///
/// # Errors
/// An unknown format; records that are missing or damaged.
pub fn run(args: &cli::Table) -> anyhow::Result<()> {
    let format = format(&args.format)?;
    let table = Table::build(&args.dir)?;
    out!("{}", if args.each_seed { table.each_seed() } else { table.render(format) })
}

/// The format `name`.
///
/// # Errors
/// An unknown name, with the nearest one.
pub(super) fn format(name: &str) -> Result<Format, UnknownName> {
    name.parse().map_err(|_| UnknownName::new("format", name, Format::ALL.map(Format::name)))
}
