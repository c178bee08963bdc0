//! Aligned columns for a terminal.

use super::grid::{self, PLAIN};
use super::model::{Experiment, Table};
use super::notes::notes;

pub(super) fn render(table: &Table) -> String {
    table.experiments.iter().map(experiment).collect::<Vec<_>>().join("\n")
}

fn experiment(experiment: &Experiment) -> String {
    let headings: Vec<String> = grid::headings().into_iter().map(str::to_owned).collect();
    let body = grid::lines(experiment, &PLAIN).into_iter().map(|line| {
        let label = if line.ours { line.label } else { format!("  {}", line.label) };
        std::iter::once(label).chain(line.cells).collect()
    });
    let lines: Vec<Vec<String>> = std::iter::once(headings).chain(body).collect();
    let widths = widths(&lines);
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));

    let mut text = format!("{}\n\n", experiment.folder);
    for (index, line) in lines.iter().enumerate() {
        text += &aligned(line, &widths);
        if index == 0 {
            text += &format!("{rule}\n");
        }
    }
    for note in notes(experiment) {
        text += &format!("note: {note}\n");
    }
    text
}

/// The widest cell of each column, in characters.
fn widths(lines: &[Vec<String>]) -> Vec<usize> {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |line: &Vec<String>, column| line.get(column).map_or(0, |cell: &String| cell.chars().count());
    (0..columns).map(|column| lines.iter().map(|line| width(line, column)).max().unwrap_or(0)).collect()
}

/// The first cell to the left, the numbers to the right, without trailing spaces.
fn aligned(line: &[String], widths: &[usize]) -> String {
    let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, &width))| match column {
        0 => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    });
    let text = cells.collect::<Vec<_>>().join("  ");
    format!("{}\n", text.trim_end())
}
