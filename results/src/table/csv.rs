//! CSV for programs: full precision, accuracy as a fraction, an empty cell where there is no value.

use std::borrow::Cow;

use super::model::{Row, Table};
use crate::Column;

pub(super) fn render(table: &Table) -> String {
    let means = Column::ALL.map(Column::name);
    let stds = means.map(|name| format!("{name}_std"));
    let mut text = format!("experiment,row,seeds,{},{}\n", means.join(","), stds.join(","));
    for experiment in &table.experiments {
        for row in &experiment.rows {
            let (name, values) = (quoted(&row.name), values(row).join(","));
            text += &format!("{},{name},{},{values}\n", quoted(&experiment.folder), row.seeds);
        }
    }
    text
}

/// The means of all columns, then their standard deviations.
fn values(row: &Row) -> Vec<String> {
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let means = Column::ALL.map(|column| number(row.cell(column).map(|cell| cell.mean)));
    let stds = Column::ALL.map(|column| number(row.cell(column).and_then(|cell| cell.std)));
    [means, stds].concat()
}

/// A cell as RFC 4180 asks for.
pub(crate) fn quoted(name: &str) -> Cow<'_, str> {
    if name.contains(['"', ',', '\n', '\r']) {
        Cow::Owned(format!("\"{}\"", name.replace('"', "\"\"")))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_separators_are_quoted() {
        assert_eq!(quoted("quick-smoke"), "quick-smoke");
        assert_eq!(quoted("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
