//! The rows against the baseline, image by image and seed by seed, as HTML.

use maud::{Markup, html};

use super::{PAIRED, Section};
use crate::Column;
use crate::compare::{BASELINE, Difference, Verdict};

/// A table of the differences: a line a row, a column a score, each with its interval and what that says.
pub(super) fn paired(section: &Section) -> Markup {
    let differences = &section.differences;
    if differences.is_empty() {
        return html! { p.note { "These records have no row " code { (BASELINE) } " that others could be compared with." } };
    }
    let mut rows: Vec<&str> = differences.iter().map(|one| one.row.as_str()).collect();
    rows.dedup();
    let columns: Vec<Column> = Column::ALL
        .into_iter()
        .filter(|column| differences.iter().any(|one| one.column == *column))
        .collect();
    let of =
        |row: &str, column: Column| differences.iter().find(|one| one.row == row && one.column == column);
    let count = |verdict: Verdict| differences.iter().filter(|one| one.verdict == verdict).count();
    html! {
        @for note in section.sheets.iter().filter(|(name, _)| *name == PAIRED).flat_map(|(_, sheet)| &sheet.notes) {
            p { (note) }
        }
        p.note {
            "✓ better, ✗ worse, ↑ higher, ↓ lower than the baseline by the interval; no mark where it holds zero, or where a DEE is a \
             bound on some seed."
        }
        p { (count(Verdict::Inconclusive)) " of " (differences.len()) " differences are inconclusive." }
        div.wide tabindex="0" role="region" aria-label="Paired comparison" {
            table.results.paired {
                thead { tr { th scope="col" { "row" } @for column in &columns { th scope="col" { (column.heading()) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            th scope="row" { (row) }
                            @for column in &columns { td { @if let Some(one) = of(row, *column) { (cell(one)) } } }
                        }
                    }
                }
            }
        }
    }
}

fn cell(one: &Difference) -> Markup {
    let signed =
        |value: f64| format!("{:+.*}", one.column.decimals(), value * one.column.scale()).replace('-', "−");
    let mean = signed(one.mean());
    let mean = match mean.trim_start_matches(['+', '−']) {
        zero if zero.trim_matches(['0', '.']).is_empty() => zero,
        _ => &mean,
    };
    // Even of what is shown as zero, the sign says on which side of it an interval ends.
    let end = |value: f64| if value == 0.0 { signed(0.0)[1..].to_owned() } else { signed(value) };
    let (class, sign) = match one.verdict {
        Verdict::Better => ("holds", "✓ "),
        Verdict::Worse => ("fails", "✗ "),
        Verdict::Higher => ("decided", "↑ "),
        Verdict::Lower => ("decided", "↓ "),
        Verdict::Inconclusive => ("undecided", ""),
    };
    html! {
        span class=(class) title=(one.verdict.name()) { (sign) (mean) }
        br;
        span.interval { "[" (end(one.low)) ", " (end(one.high)) "]" }
    }
}
