//! The formats of a table.

use std::str::FromStr;

use super::grid::{Line, headings, lines};
use super::model::{Experiment, Table};
use super::{csv, notes};
use crate::Error;
use crate::sheet::{self, Sheet};

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Aligned columns for a terminal, the published numbers under ours, notes.
    Term,
    /// Full precision for programs: a header, one line a row, nothing else.
    Csv,
    /// GitHub's Markdown, with what the terminal shows.
    Md,
    /// LaTeX for the booktabs package, with what the terminal shows.
    Latex,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Term, Self::Csv, Self::Md, Self::Latex];

    /// The name in commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Term => "term",
            Self::Csv => "csv",
            Self::Md => "md",
            Self::Latex => "latex",
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let format = Self::ALL.into_iter().find(|format| format.name() == name);
        format.ok_or_else(|| Error::Format(name.to_owned()))
    }
}

impl Table {
    /// The table as text, which ends with a line break.
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Csv => csv::render(self),
            _ => {
                let sheets: Vec<Sheet> = self.experiments.iter().map(|one| sheet(one, format)).collect();
                sheet::render(&sheets, format)
            }
        }
    }

    /// The values of each seed, of which the table has mean and spread, as CSV: a line a row and seed, in full precision.
    pub fn each_seed(&self) -> String {
        csv::each_seed(self)
    }
}

/// The table of `experiment` for people. How a published line is set off from the row above is the format's own.
fn sheet(experiment: &Experiment, format: Format) -> Sheet {
    let line = |Line { ours, label, cells }: Line| {
        let (label, cells) = match format {
            _ if ours => (label, cells),
            Format::Md => (format!("*{label}*"), cells),
            // An em space, and differences with a minus instead of a hyphen.
            Format::Latex => {
                (format!("\u{2003}{label}"), cells.into_iter().map(|cell| cell.replace('-', "−")).collect())
            }
            Format::Term | Format::Csv => (format!("  {label}"), cells),
        };
        std::iter::once(label).chain(cells).collect()
    };
    Sheet {
        title: experiment.folder.clone(),
        labels: 1,
        headings: headings().into_iter().map(str::to_owned).collect(),
        lines: lines(experiment).into_iter().map(line).collect(),
        notes: notes(experiment),
        ..Sheet::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_refused() {
        for format in Format::ALL {
            assert_eq!(format.name().parse::<Format>().unwrap(), format);
        }
        let error = "html".parse::<Format>().unwrap_err();
        assert_eq!(error.to_string(), "unknown table format `html`: expected term, csv, md or latex");
    }
}
