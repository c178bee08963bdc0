//! CSV for programs: full precision, accuracy as a fraction, an empty cell where there is no value. Names and order of the
//! columns stay; a new one stands behind the others.

use std::collections::BTreeMap;

use super::model::{Bound, Row, Table};
use crate::Column;
use crate::sheet::csv_line;

const COLUMNS: usize = Column::ALL.len();

/// The columns that say whether a DEE is a bound on some seed: at or beyond DE-Nmax, worse than DE-1.
const BOUNDS: [(&str, Bound); 2] = [("dee_at_least", Bound::AtLeast), ("dee_at_most", Bound::AtMost)];

pub(super) fn render(table: &Table) -> String {
    let means = Column::ALL.map(|column| column.name().to_owned());
    let stds = Column::ALL.map(|column| format!("{}_std", column.name()));
    let bounds = BOUNDS.map(|(name, _)| name.to_owned());
    let mut text = format!("experiment,row,seeds,{}\n", in_order(means, stds, bounds).join(","));
    for experiment in &table.experiments {
        for row in &experiment.rows {
            let labels = [experiment.folder.clone(), row.name.clone(), row.seeds.to_string()];
            text += &csv_line(labels.iter().chain(&values(row)));
        }
    }
    text
}

/// A line a row and seed, with the value of each column and what its DEE is a bound of.
pub(super) fn each_seed(table: &Table) -> String {
    let names = Column::ALL.map(Column::name);
    let bounds = BOUNDS.map(|(name, _)| name);
    let mut text = format!("experiment,row,seed,{},{}\n", names.join(","), bounds.join(","));
    for experiment in &table.experiments {
        for row in &experiment.rows {
            let columns = Column::ALL.map(|column| row.values(column));
            for seed in row.each_seed() {
                let value =
                    |column: &BTreeMap<u64, f64>| column.get(&seed).map(f64::to_string).unwrap_or_default();
                let bound =
                    |(_, bound): (&str, Bound)| match columns[Column::Dee as usize].contains_key(&seed) {
                        true => (row.bounds().get(&seed) == Some(&bound)).to_string(),
                        false => String::new(),
                    };
                let labels = [experiment.folder.clone(), row.name.clone(), seed.to_string()];
                let values = [&columns.each_ref().map(value)[..], &BOUNDS.map(bound)].concat();
                text += &csv_line(labels.iter().chain(&values));
            }
        }
    }
    text
}

/// The means of the columns that are [shown](Column::SHOWN), their standard deviations, mean and standard deviation of each
/// other column, and what there is for [`BOUNDS`].
fn in_order(means: [String; COLUMNS], stds: [String; COLUMNS], bounds: [String; 2]) -> Vec<String> {
    let others = (Column::SHOWN..COLUMNS).flat_map(|column| [means[column].clone(), stds[column].clone()]);
    let shown = [&means[..Column::SHOWN], &stds[..Column::SHOWN]].concat();
    shown.into_iter().chain(others).chain(bounds).collect()
}

/// The cells of a row, with `true` or `false` for each of [`BOUNDS`].
fn values(row: &Row) -> Vec<String> {
    let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
    let means = Column::ALL.map(|column| number(row.cell(column).map(|cell| cell.mean)));
    let stds = Column::ALL.map(|column| number(row.cell(column).and_then(|cell| cell.std)));
    let bounds = BOUNDS.map(|(_, bound)| match row.cell(Column::Dee) {
        Some(_) => row.bounds().values().any(|own| *own == bound).to_string(),
        None => String::new(),
    });
    in_order(means, stds, bounds)
}
