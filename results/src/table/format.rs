//! The formats of a table.

use std::str::FromStr;

use super::model::Table;
use super::{csv, latex, markdown, term};
use crate::Error;

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
            Format::Term => term::render(self),
            Format::Csv => csv::render(self),
            Format::Md => markdown::render(self),
            Format::Latex => latex::render(self),
        }
    }

    /// The values of each seed, of which the table has mean and spread, as CSV: a line a row and seed, in full precision.
    pub fn each_seed(&self) -> String {
        csv::each_seed(self)
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
