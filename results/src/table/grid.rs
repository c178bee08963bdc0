//! The cells as people read them: mean and spread, and under a row the published numbers with the difference.

use super::model::{Bound, Cell, Experiment, Row};
use crate::Column;
use crate::reference::{Published, Reference};

/// A line of a table.
pub(crate) struct Line {
    /// Whether this is a row of ours, and not a published line under one.
    pub(crate) ours: bool,
    /// The row's name, `published` or `difference`.
    pub(crate) label: String,
    /// Seeds, then one cell a column; empty where there is no value.
    pub(crate) cells: Vec<String>,
}

/// The columns that are shown, in order.
fn shown() -> impl Iterator<Item = Column> {
    Column::ALL.into_iter().take(Column::SHOWN)
}

/// The headings, one for the label and one for each cell.
pub(crate) fn headings() -> Vec<&'static str> {
    ["row", "seeds"].into_iter().chain(shown().map(Column::heading)).collect()
}

/// The lines of `experiment`.
pub(crate) fn lines(experiment: &Experiment) -> Vec<Line> {
    let mut lines = Vec::new();
    for row in &experiment.rows {
        lines.push(ours(row));
        if let Some(reference) = &experiment.reference
            && let Some(published) = reference.rows.get(&row.name)
        {
            lines.push(printed(reference, published));
            lines.push(difference(row, published));
        }
    }
    lines
}

fn ours(row: &Row) -> Line {
    let cells = shown().map(|column| match row.cell(column) {
        Some(cell) => spread(column, cell),
        None => String::new(),
    });
    line(true, row.name.clone(), row.seeds.to_string(), cells)
}

fn printed(reference: &Reference, published: &Published) -> Line {
    let cells = shown().map(|column| match published.printed(column) {
        Some(fraction) if fraction.starts_with('.') => format!("0{fraction}"),
        Some(number) => number.to_owned(),
        None => String::new(),
    });
    line(false, "published".into(), reference.seeds.to_string(), cells)
}

fn difference(row: &Row, published: &Published) -> Line {
    let cells = shown().map(|column| match (row.cell(column), published.value(column)) {
        (Some(cell), Some(value)) => column.signed(cell.mean - value),
        _ => String::new(),
    });
    line(false, "difference".into(), String::new(), cells)
}

fn line(ours: bool, label: String, seeds: String, cells: impl Iterator<Item = String>) -> Line {
    Line { ours, label, cells: std::iter::once(seeds).chain(cells).collect() }
}

fn spread(column: Column, cell: Cell) -> String {
    let mut text = column.text(cell.mean);
    if let Some(bound) = cell.bound {
        let sign = match bound {
            Bound::AtLeast => ">= ",
            Bound::AtMost => "<= ",
        };
        // The bound is the curve's end itself where every seed is there: no digits after the point then.
        let whole = cell.mean.fract() == 0.0;
        let number = if whole { cell.mean.to_string() } else { text };
        text = format!("{sign}{number}");
    }
    match cell.std {
        Some(std) => text + " ± " + &column.text(std),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_marked() {
        let cell = |mean, std, bound| Cell { mean, std, bound };
        assert_eq!(spread(Column::Dee, cell(4.0, None, Some(Bound::AtLeast))), ">= 4");
        assert_eq!(spread(Column::Dee, cell(4.0, Some(0.0), Some(Bound::AtLeast))), ">= 4 ± 0.00");
        assert_eq!(spread(Column::Dee, cell(3.5, Some(0.5), Some(Bound::AtLeast))), ">= 3.50 ± 0.50");
        assert_eq!(spread(Column::Dee, cell(1.0, None, Some(Bound::AtMost))), "<= 1");
        assert_eq!(spread(Column::Dee, cell(3.0, None, None)), "3.00");
        assert_eq!(spread(Column::Acc, cell(0.8022, Some(0.0012), None)), "80.22 ± 0.12");
    }
}
