//! `divkd analyze`: the paper's figures as tables, and whether one row is better than another. From stored arrays and
//! predictions; arrays that are missing are computed first where weights and data are at hand.

use std::path::Path;

use anyhow::{Context, bail};
use results::analysis::Analysis;
use results::analysis::tables::{self, Source};
use results::compare::{self, BASELINE, REPLICATES};
use results::record::folders;
use results::sheet::{Sheet, render};
use results::table::{Experiment, Format};

use super::table::format;
use crate::analyze::fill::{Needs, fill};
use crate::cli::{Analyze, AnalyzeRuns, AnalyzeWhat};
use crate::device::{self, Chosen};
use crate::interrupt::Interrupted;
use crate::nearest::UnknownName;
use crate::output::out;

/// Tables from stored arrays.
struct Kind {
    /// The first is what programs get.
    sheets: &'static [fn(&Source) -> Sheet],
    needs: Needs,
    /// Whether an analysis has what the table shows.
    has: fn(&Analysis) -> bool,
}

/// Prints the tables of the records under the folder, an experiment after the other.
///
/// # Errors
/// Names that are wrong; records that are missing or damaged; an experiment without the arrays that its table is made
/// from, with what it lacks, once the others' tables are printed.
pub fn run(args: &Analyze) -> anyhow::Result<()> {
    let kind = |sheets, needs, has| Kind { sheets, needs, has };
    let (args, kind) = match &args.what {
        AnalyzeWhat::Confidence(args) => {
            (args, kind(&[tables::confidence], Needs::Teachers, |one| one.confidence.is_some()))
        }
        AnalyzeWhat::Diversity(args) => {
            (args, kind(&[tables::diversity], Needs::All, |one| !one.diversity.is_empty()))
        }
        AnalyzeWhat::Transfer(args) => {
            (args, kind(&[tables::transfer], Needs::Teachers, |one| one.transfer.is_some()))
        }
        AnalyzeWhat::Jacobian(args) => {
            (args, kind(&[tables::jacobian, tables::remainder], Needs::All, |one| one.jacobian.is_some()))
        }
        AnalyzeWhat::Remainder(args) => {
            (args, kind(&[tables::remainder], Needs::Teachers, |one| one.remainder.is_some()))
        }
        AnalyzeWhat::Compare(args) => {
            return print(&args.runs, &args.format, |folder| Ok(vec![compared(folder, &args.baseline)?]));
        }
    };
    let device = device::choose(&args.device, "f32")?;
    print(&args.runs, &args.format, |folder| stored(folder, args, &device, &kind))
}

/// The comparison of one experiment's rows with the row `baseline`.
fn compared(folder: &Path, baseline: &str) -> anyhow::Result<Sheet> {
    let rows: Vec<String> = Experiment::read(folder)?.rows.into_iter().map(|row| row.name).collect();
    if baseline == BASELINE && !rows.iter().any(|row| row == baseline) {
        bail!(
            "{}: there is no row {BASELINE} to compare with: name another by --baseline, of {}",
            folder.display(),
            rows.join(", ")
        );
    }
    if !rows.iter().any(|row| row == baseline) {
        let is_teacher = baseline.starts_with("teacher") && rows.iter().any(|row| row == "de-1");
        let unknown = match UnknownName::new("row", baseline, rows) {
            unknown if is_teacher => unknown.meaning("de-1", "single teachers are the table's row de-1"),
            unknown => unknown,
        };
        return Err(unknown).with_context(|| folder.display().to_string());
    }
    let differences = compare::compare(folder, baseline, REPLICATES)?;
    if differences.is_empty() {
        bail!("{}: no row shares a seed with {baseline}, so there is nothing to compare", folder.display());
    }
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    Ok(compare::sheet(&name, baseline, &differences))
}

/// The tables of `kind` of one experiment's records, whose missing arrays are computed first.
fn stored(folder: &Path, args: &AnalyzeRuns, device: &Chosen, kind: &Kind) -> anyhow::Result<Vec<Sheet>> {
    let lacking = fill(folder, kind.needs, args.data_dir.as_deref(), device)?;
    let source = Source::read(folder)?;
    if !source.analyses.iter().any(kind.has) {
        match lacking {
            Some(lacking) => bail!("{lacking}"),
            None => bail!(
                "{}: there is nothing to analyse: it takes the records of all teachers 1..M of a seed, and M of at least 2 \
                 for diversity",
                folder.display()
            ),
        }
    }
    if let Some(lacking) = lacking {
        eprintln!("{lacking}");
    }
    source.left_out.iter().for_each(|why| eprintln!("note: {}: {why}", source.folder));
    Ok(kind.sheets.iter().map(|sheet| sheet(&source)).collect())
}

/// Prints the tables of all experiments that have them; of the others the first's error is returned, and the rest are said.
fn print(
    runs: &Path,
    format_name: &str,
    sheets: impl Fn(&Path) -> anyhow::Result<Vec<Sheet>>,
) -> anyhow::Result<()> {
    let format = format(format_name)?;
    let (mut all, mut failed) = (Vec::new(), None);
    for folder in folders(runs)? {
        match sheets(&folder) {
            Ok(mut sheets) => {
                if format == Format::Csv {
                    sheets.truncate(1);
                }
                all.extend(sheets);
            }
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) if failed.is_none() => failed = Some(error),
            Err(error) => eprintln!("error: {error:#}"),
        }
    }
    if !all.is_empty() {
        out!("{}", render(&all, format))?;
    }
    failed.map_or(Ok(()), Err)
}
