//! The differences as a table.

use super::{Difference, REPLICATES};
use crate::Column;
use crate::sheet::{Sheet, full};

/// A line for each row and column of `differences`, which are of the experiment `folder` and against the row `baseline`.
pub fn sheet(folder: &str, baseline: &str, differences: &[Difference]) -> Sheet {
    // Even of what is shown as zero, the sign says on which side of it an interval ends.
    let end = |column: Column, value: f64| format!("{:+.*}", column.decimals(), value * column.scale());
    let line = |one: &Difference| {
        let column = one.column;
        vec![
            one.row.clone(),
            column.heading().to_owned(),
            one.seeds.len().to_string(),
            column.text(one.value),
            column.text(one.baseline),
            column.signed(one.mean()),
            format!("[{}, {}]", end(column, one.low), end(column, one.high)),
            one.verdict.name().to_owned(),
        ]
    };
    let csv = |one: &Difference| {
        let numbers = [one.value, one.baseline, one.mean(), one.low, one.high].map(|value| full(Some(value)));
        let labels =
            [folder.to_owned(), one.row.clone(), one.column.name().to_owned(), one.seeds.len().to_string()];
        let verdict = [one.verdict.name().to_owned()];
        labels.into_iter().chain(numbers).chain(verdict).collect()
    };
    let mut notes = vec![format!(
        "Difference from {baseline} within a seed, with its 95% interval by {REPLICATES} bootstrap replicates over test images \
         and seeds; inconclusive where the interval holds zero. Each interval is at 95% by itself, not all of them together: \
         where rows do not differ, about one interval in twenty excludes zero."
    )];
    if differences.iter().any(|one| one.column == Column::Dis) {
        notes.push(
            "DIS is the share of test images on which two members name different classes, averaged over pairs: unlike KLD it does \
             not grow with how sure the members are. Neither is better higher or lower."
                .to_owned(),
        );
    }
    if differences.iter().any(|one| one.is_bound) {
        notes.push(
            "Some differences are of a DEE that, on some seed, is beyond an end of the curve of ensembles: a bound and no value. \
             They are inconclusive."
                .to_owned(),
        );
    }
    if differences.iter().any(|one| one.seeds.len() < 2) {
        notes.push("With one seed the interval covers the test images alone and decides nothing.".to_owned());
    }
    let headings = ["row", "score", "seeds", "value", baseline, "difference", "95% interval", "verdict"];
    Sheet {
        title: format!("{folder}: against {baseline}"),
        labels: 2,
        headings: headings.map(str::to_owned).into(),
        lines: differences.iter().map(line).collect(),
        notes,
        csv_header: "experiment,row,score,seeds,value,baseline,difference,low,high,verdict",
        csv: differences.iter().map(csv).collect(),
    }
}
