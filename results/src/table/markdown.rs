//! GitHub's Markdown.

use super::grid::{self, PLAIN};
use super::model::{Experiment, Table};
use super::notes::notes;

pub(super) fn render(table: &Table) -> String {
    table.experiments.iter().map(experiment).collect::<Vec<_>>().join("\n")
}

fn experiment(experiment: &Experiment) -> String {
    let headings = grid::headings();
    let rule = headings.iter().enumerate().map(|(column, _)| if column == 0 { "---" } else { "---:" });
    let mut text = format!("### {}\n\n", experiment.folder);
    text += &line(headings.iter().copied());
    text += &line(rule);
    for row in grid::lines(experiment, &PLAIN) {
        let label = if row.ours { row.label } else { format!("*{}*", row.label) };
        text += &line(std::iter::once(label.as_str()).chain(row.cells.iter().map(String::as_str)));
    }
    for note in notes(experiment) {
        text += &format!("\n{note}\n");
    }
    text
}

fn line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}
