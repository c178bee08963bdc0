//! LaTeX for the booktabs package.

use super::grid::{self, Symbols};
use super::model::{Experiment, Table};
use super::notes::notes;

const SYMBOLS: Symbols =
    Symbols { plus_minus: " $\\pm$ ", at_least: "$\\geq$ ", at_most: "$\\leq$ ", minus: "$-$" };

pub(super) fn render(table: &Table) -> String {
    let tables: Vec<String> = table.experiments.iter().map(experiment).collect();
    format!("% needs \\usepackage{{booktabs}}\n{}", tables.join("\n"))
}

fn experiment(experiment: &Experiment) -> String {
    let headings: Vec<String> = grid::headings().into_iter().map(escaped).collect();
    let columns = "r".repeat(headings.len() - 1);
    let mut text = format!(
        "\\begin{{table}}\n\\centering\n\\caption{{{}}}\n\\begin{{tabular}}{{l{columns}}}\n\\toprule\n{} \\\\\n\\midrule\n",
        escaped(&experiment.folder),
        headings.join(" & "),
    );
    for line in grid::lines(experiment, &SYMBOLS) {
        let label = escaped(&line.label);
        let label = if line.ours { label } else { format!("\\quad {label}") };
        text += &format!("{label} & {} \\\\\n", line.cells.join(" & "));
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    for note in notes(experiment) {
        text += &format!("\\par\\smallskip\\footnotesize {}\n", escaped(&note));
    }
    text + "\\end{table}\n"
}

/// Text of a cell or a note with the signs of mathematics.
pub(crate) fn text(text: &str) -> String {
    escaped(text)
        .replace('±', "$\\pm$")
        .replace(">=", "$\\geq$")
        .replace("<=", "$\\leq$")
        .replace('‖', "$\\|$")
}

/// Text without LaTeX's special characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(escaped("a_b 50% {x} \\"), "a\\_b 50\\% \\{x\\} \\textbackslash{}");
    }
}
