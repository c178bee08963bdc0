//! Aligned columns for a terminal.

use super::grid::{self, PLAIN};
use super::model::{Experiment, Table};
use super::notes::notes;
use crate::sheet::{aligned, widths};

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
    let widths = widths(&lines.iter().collect::<Vec<_>>());
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));

    let mut text = format!("{}\n\n", experiment.folder);
    for (index, line) in lines.iter().enumerate() {
        text += &aligned(line, &widths, 1);
        if index == 0 {
            text += &format!("{rule}\n");
        }
    }
    for note in notes(experiment) {
        text += &format!("note: {note}\n");
    }
    text
}
