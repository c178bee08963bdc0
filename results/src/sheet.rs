//! Small tables for people and programs: headings and lines of cells in every [`Format`], one long CSV for all of them.

mod latex;

use csv::Writer;

use crate::table::Format;

/// A table of text cells, and the same numbers in full precision for programs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    /// What it shows.
    pub title: String,
    /// How many columns at the left are labels, not numbers.
    pub labels: usize,
    /// The headings of all columns.
    pub headings: Vec<String>,
    /// The lines, as many cells each as there are headings.
    pub lines: Vec<Vec<String>>,
    /// What a reader must know, a sentence or two each.
    pub notes: Vec<String>,
    /// The columns of the CSV.
    pub csv_header: &'static str,
    /// The lines of the CSV.
    pub csv: Vec<Vec<String>>,
}

/// All `sheets` as text, which ends with a line break. As CSV: each header once, before the lines of the sheets that have
/// it.
pub fn render(sheets: &[Sheet], format: Format) -> String {
    let texts = sheets.iter().map(|sheet| match format {
        Format::Term => term(sheet),
        Format::Md => markdown(sheet),
        Format::Latex => booktabs(sheet),
        Format::Csv => String::new(),
    });
    match format {
        Format::Term | Format::Md => texts.collect::<Vec<_>>().join("\n"),
        Format::Latex => {
            format!("% needs \\usepackage{{booktabs}}\n{}", texts.collect::<Vec<_>>().join("\n"))
        }
        Format::Csv => csv(sheets),
    }
}

fn term(sheet: &Sheet) -> String {
    let all: Vec<&Vec<String>> = std::iter::once(&sheet.headings).chain(&sheet.lines).collect();
    let widths = widths(&all);
    let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1));
    let mut text = format!("{}\n\n", sheet.title);
    for (index, line) in all.into_iter().enumerate() {
        text += &aligned(line, &widths, sheet.labels);
        if index == 0 {
            text += &format!("{rule}\n");
        }
    }
    for note in &sheet.notes {
        text += &format!("note: {note}\n");
    }
    text
}

/// The widest cell of each column, in characters.
fn widths(lines: &[&Vec<String>]) -> Vec<usize> {
    let columns = lines.iter().map(|line| line.len()).max().unwrap_or(0);
    let width = |line: &Vec<String>, column| line.get(column).map_or(0, |cell: &String| cell.chars().count());
    (0..columns).map(|column| lines.iter().map(|line| width(line, column)).max().unwrap_or(0)).collect()
}

/// The first `labels` cells to the left, the numbers to the right, without trailing spaces.
fn aligned(line: &[String], widths: &[usize], labels: usize) -> String {
    let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, &width))| match column < labels {
        true => format!("{cell:<width$}"),
        false => format!("{cell:>width$}"),
    });
    let text = cells.collect::<Vec<_>>().join("  ");
    format!("{}\n", text.trim_end())
}

fn markdown(sheet: &Sheet) -> String {
    let line = |cells: &mut dyn Iterator<Item = String>| {
        format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
    };
    let mut text = format!("### {}\n\n", sheet.title);
    text += &line(&mut sheet.headings.iter().cloned());
    let rule = |column| if column < sheet.labels { "---" } else { "---:" };
    text += &line(&mut (0..sheet.headings.len()).map(|column| rule(column).to_owned()));
    for cells in &sheet.lines {
        text += &line(&mut cells.iter().cloned());
    }
    for note in &sheet.notes {
        text += &format!("\n{note}\n");
    }
    text
}

fn booktabs(sheet: &Sheet) -> String {
    let row = |cells: &[String]| cells.iter().map(|cell| latex::text(cell)).collect::<Vec<_>>().join(" & ");
    let columns = "l".repeat(sheet.labels) + &"r".repeat(sheet.headings.len().saturating_sub(sheet.labels));
    let mut text = format!(
        "\\begin{{table}}\n\\centering\n\\caption{{{}}}\n\\begin{{tabular}}{{{columns}}}\n\\toprule\n{} \\\\\n\\midrule\n",
        latex::text(&sheet.title),
        row(&sheet.headings),
    );
    for cells in &sheet.lines {
        text += &format!("{} \\\\\n", row(cells));
    }
    text += "\\bottomrule\n\\end{tabular}\n";
    for note in &sheet.notes {
        text += &format!("\\par\\smallskip\\footnotesize {}\n", latex::text(note));
    }
    text + "\\end{table}\n"
}

fn csv(sheets: &[Sheet]) -> String {
    let mut text = String::new();
    let mut header = None;
    for sheet in sheets {
        if header.replace(sheet.csv_header) != Some(sheet.csv_header) {
            text += &format!("{}\n", sheet.csv_header);
        }
        text.extend(sheet.csv.iter().map(csv_line));
    }
    text
}

/// `cells` as a line of CSV, with its line break.
pub(crate) fn csv_line<T: AsRef<[u8]>>(cells: impl IntoIterator<Item = T>) -> String {
    let mut line = Writer::from_writer(Vec::new());
    // Memory takes every write.
    let _ = line.write_record(cells);
    String::from_utf8_lossy(&line.into_inner().unwrap_or_default()).into_owned()
}

/// A number for a program; nothing where there is none.
pub(crate) fn full(value: Option<f64>) -> String {
    value.filter(|value| value.is_finite()).map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_with_separators_are_quoted() {
        assert_eq!(csv_line(["quick-smoke", "", "a,\"b\""]), "quick-smoke,,\"a,\"\"b\"\"\"\n");
    }
}
