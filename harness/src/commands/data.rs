//! `divkd data verify|fetch`: a data set's files, without training on them.

use std::cmp::Ordering;

use anyhow::bail;
use datasets::{Id, LoadOptions};

use crate::cli::{Data, DataAction, DataSet, WrongOptions};
use crate::loading;
use crate::nearest::UnknownName;
use crate::output::outln;

/// Runs the action.
///
/// # Errors
/// An unknown data set; files that are missing, damaged or out of reach.
pub fn run(args: &Data) -> anyhow::Result<()> {
    match &args.action {
        DataAction::Verify(set) => verify(set),
        DataAction::Fetch(set) => fetch(set),
    }
}

/// A line a file on standard output: `ok`, `part` of one with fewer (`more`: with more) rows than the protocol's, `BAD`; fails if any
/// file has a problem.
fn verify(set: &DataSet) -> anyhow::Result<()> {
    let id = of_files(&set.dataset)?;
    let source = loading::source(id, set.data_dir.as_deref(), 0);
    let reports = datasets::verify(id, &source, &options())?;
    let mut problems = 0;
    for report in &reports {
        match &report.problem {
            Some(problem) => {
                problems += 1;
                outln!("BAD  {}: {problem}", report.file)?;
            }
            None => {
                let check = report.check.map_or("not compared", datasets::HashCheck::phrase);
                let (rows, expected) = (report.rows, report.expected_rows);
                let (state, advice) = match rows.cmp(&expected) {
                    Ordering::Equal => ("ok  ", ""),
                    Ordering::Less => ("part", " (reduced presets make do with them, `paper` refuses them)"),
                    Ordering::Greater => ("more", " (not the full protocol's: `paper` refuses them)"),
                };
                let channels = report.channels.map(|channels| format!("; {channels}")).unwrap_or_default();
                outln!(
                    "{state} {}: {rows} of {expected} rows{advice}, sha256 {} {check}{channels}",
                    report.file,
                    report.sha256
                )?;
            }
        }
    }
    if problems > 0 {
        let advice = match &set.data_dir {
            Some(dir) => format!("copy them into {} again", dir.display()),
            None => format!("`divkd data fetch {id}` gets them anew"),
        };
        bail!("{problems} of {} files of {id} are not usable; {advice}", reports.len());
    }
    Ok(())
}

/// A line a file on standard output: where it lies.
fn fetch(set: &DataSet) -> anyhow::Result<()> {
    let id = of_files(&set.dataset)?;
    if set.data_dir.is_some() {
        let what = format!(
            "data fetch downloads into the hub's cache; use `divkd data verify {id} --data-dir ..` for a folder"
        );
        return Err(WrongOptions(what).into());
    }
    for file in datasets::fetch(id, &options())? {
        let came = if file.downloaded { "downloaded" } else { "already there" };
        outln!("{} {came}, {} bytes, sha256 {}", file.path.display(), file.bytes, file.check.phrase())?;
    }
    Ok(())
}

/// The data set `name`, which must be one of files.
fn of_files(name: &str) -> anyhow::Result<Id> {
    let is_of_files = |id: &Id| id.spec().hub.is_some();
    let known = || Id::ALL.into_iter().filter(is_of_files).map(Id::name);
    match name.parse() {
        Ok(id) if is_of_files(&id) => Ok(id),
        Ok(_) => Err(UnknownName::new("data set", name, known())
            .because("it is made from a seed and has no files")
            .into()),
        Err(_) => Err(UnknownName::new("data set", name, known()).into()),
    }
}

fn options() -> LoadOptions {
    LoadOptions { progress: Some(loading::progress()), ..LoadOptions::default() }
}
