//! Tier 1: a deterministic run against the stored table of an earlier one.
//!
//! A golden is a folder `<experiment>-<preset>` with `table.csv`, as [`Format::Csv`] writes it, and `machine.txt`, the
//! class of machine that made it. On that class numbers must be the same; elsewhere instruction sets may round differently,
//! and each may differ by [`TOLERANCE`] of its size.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Finding, Section, Verdict};
use crate::table::{Format, Table};
use crate::{Error, Result};

/// How far a number may be from its golden on another class of machine, as a part of the golden.
pub const TOLERANCE: f64 = 0.02;

/// The file of the numbers.
pub const TABLE: &str = "table.csv";

/// The file of the class of machine.
pub const MACHINE: &str = "machine.txt";

/// The evidence of a row or column that is new.
const NO_GOLDEN: &str = "no golden yet: `divkd check --golden --bless`";

/// Cells by row, then by column, both in the order of the file; a cell without a value is left out.
type Cells = Vec<(String, BTreeMap<String, f64>)>;

/// The numbers of one run, with the class of machine that made them.
#[derive(Clone, Debug, PartialEq)]
pub struct Golden {
    machine: String,
    columns: Vec<String>,
    rows: Cells,
    text: String,
}

impl Golden {
    /// The numbers of `table`, made on `machine`.
    ///
    /// # Errors
    /// None that a table of this crate causes.
    pub fn new(table: &Table, machine: &str) -> Result<Self> {
        let text = table.render(Format::Csv);
        let (columns, rows) = parse(Path::new(TABLE), &text)?;
        Ok(Self { machine: machine.to_owned(), columns, rows, text })
    }

    /// Reads the golden in `folder`.
    ///
    /// # Errors
    /// Where its table is missing or is not one; a golden without [`MACHINE`] is of an unknown class.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(TABLE);
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let machine = std::fs::read_to_string(folder.join(MACHINE)).unwrap_or_default();
        let (columns, rows) = parse(&path, &text)?;
        Ok(Self { machine: machine.trim().to_owned(), columns, rows, text })
    }

    /// Writes it into `folder`, which is made where it is missing.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        for (name, text) in [(TABLE, self.text.clone()), (MACHINE, format!("{}\n", self.machine))] {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(Error::io("write", &path))?;
        }
        Ok(())
    }

    /// Holds the numbers of `now` to these: exactly where both are of one class of machine, those with fused multiply-adds
    /// counted as one. A column or row that a golden of an earlier version does not have is new.
    pub fn compare(&self, folder: &str, now: &Self) -> Section {
        let tolerance = if have_same_bits(&self.machine, &now.machine) { 0.0 } else { TOLERANCE };
        let how = match tolerance {
            0.0 => format!("exactly, on {}", now.machine),
            _ => format!(
                "within {}%: made on {}, this is {}",
                TOLERANCE * 100.0,
                if self.machine.is_empty() { "an unknown machine" } else { &self.machine },
                now.machine
            ),
        };
        let mut findings = Vec::new();
        for (row, golden) in &self.rows {
            match cells(&now.rows, row) {
                Some(found) => {
                    let found = found.iter().filter(|(column, _)| self.columns.contains(column));
                    let found = found.map(|(column, value)| (column.clone(), *value)).collect();
                    findings.extend(compare_row(row, golden, &found, tolerance));
                }
                None => findings.push(finding(row, Verdict::Fail, "the run does not have this row".into())),
            }
        }
        for (row, _) in now.rows.iter().filter(|(row, _)| cells(&self.rows, row).is_none()) {
            findings.push(finding(row, Verdict::New, NO_GOLDEN.into()));
        }
        for column in now.columns.iter().filter(|column| !self.columns.contains(column)) {
            findings.push(finding(column, Verdict::New, NO_GOLDEN.into()));
        }
        Section::of_metrics(format!("{folder} against its golden, {how}"), findings)
    }
}

/// Whether machines of these classes compute the same bits: those whose kernels round a multiply-add once do, for their vectors
/// differ in length and their sums have one order.
fn have_same_bits(one: &str, other: &str) -> bool {
    const FUSED: [&str; 3] = ["x86_64-linux avx2", "x86_64-linux avx512", "aarch64-linux portable"];
    one == other || [one, other].iter().all(|machine| FUSED.contains(machine))
}

fn cells<'a>(rows: &'a Cells, row: &str) -> Option<&'a BTreeMap<String, f64>> {
    rows.iter().find(|(name, _)| name == row).map(|(_, cells)| cells)
}

fn compare_row(
    row: &str,
    golden: &BTreeMap<String, f64>,
    now: &BTreeMap<String, f64>,
    tolerance: f64,
) -> Vec<Finding> {
    let mut columns: Vec<&String> = golden.keys().chain(now.keys()).collect();
    columns.sort();
    columns.dedup();
    let compare = |column: &String| {
        let what = format!("{row} {column}");
        match (golden.get(column), now.get(column)) {
            (Some(was), Some(is)) => {
                let verdict =
                    if (is - was).abs() <= tolerance * was.abs() { Verdict::Pass } else { Verdict::Fail };
                finding(&what, verdict, moved(*was, *is))
            }
            (Some(was), None) => finding(&what, Verdict::Fail, format!("was {was}, has no value now")),
            (None, is) => {
                let is = is.copied().unwrap_or_default();
                finding(&what, Verdict::Fail, format!("had no value, is {is}"))
            }
        }
    };
    columns.into_iter().map(compare).collect()
}

/// Both numbers and what that is in percent.
pub(super) fn moved(was: f64, is: f64) -> String {
    let percent = match was {
        0.0 => String::new(),
        _ => format!(" ({:+.3}%)", (is - was) / was.abs() * 100.0),
    };
    format!("was {was}, is {is}{percent}")
}

fn finding(what: &str, verdict: Verdict, evidence: String) -> Finding {
    Finding { what: what.to_owned(), verdict, evidence }
}

/// The columns of a table in CSV, and its rows without those of names; yes and no are 1 and 0.
fn parse(path: &Path, text: &str) -> Result<(Vec<String>, Cells)> {
    let fail = |source| Error::Csv { path: path.to_owned(), source: Box::new(source) };
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().map_err(fail)?.clone();
    let names: Vec<&str> = header.iter().collect();
    if !names.starts_with(&["experiment", "row", "seeds", "acc"]) {
        return Err(Error::Header {
            path: path.to_owned(),
            expected: "experiment,row,seeds,acc,..".to_owned(),
            found: names.join(","),
        });
    }
    let mut rows = Cells::new();
    for record in reader.records() {
        let record = record.map_err(fail)?;
        let mut cells = BTreeMap::new();
        for (name, cell) in names.iter().zip(&record).skip(2).filter(|(_, cell)| !cell.is_empty()) {
            let value = match cell {
                "true" => Some(1.0),
                "false" => Some(0.0),
                _ => cell.parse().ok().filter(|value: &f64| value.is_finite()),
            };
            let value = value.ok_or_else(|| Error::Number {
                path: path.to_owned(),
                cell: format!("{name} of {}", &record[1]),
                found: cell.to_owned(),
            })?;
            cells.insert((*name).to_owned(), value);
        }
        rows.push((record[1].to_owned(), cells));
    }
    Ok((names.into_iter().map(str::to_owned).collect(), rows))
}
