//! A table's content, before any format.

use std::collections::BTreeMap;

use crate::Column;
use crate::moments::{deviation, mean};
use crate::reference::Reference;

/// The tables of one or several experiments.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// One an experiment and preset, in the order of their folders' names.
    pub experiments: Vec<Experiment>,
}

/// The table of one `<experiment>-<preset>` folder.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// The folder's name.
    pub folder: String,
    /// The preset of its runs.
    pub preset: String,
    /// Members of its BatchEnsemble students, the most where they differ; none without such students.
    pub members: Option<usize>,
    /// How many teachers each seed has, from `teacher-1` without a gap.
    pub teachers: BTreeMap<u64, usize>,
    /// The rows, in the order of [`crate::rows::order`].
    pub rows: Vec<Row>,
    /// The published table of this experiment, if there is one and its numbers can stand beside these.
    pub reference: Option<Reference>,
    /// Why the published table of an experiment of this name is left out, a sentence; none where it is not.
    pub withheld: Option<String>,
    /// What speaks against one table of these records, or against the published numbers beside them, a sentence each.
    pub doubts: Vec<String>,
}

/// One row: a network or an ensemble, over its seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The row's name, such as `de-4` or `be-kd-ods`.
    pub name: String,
    /// How many seeds it is measured on, at least 1.
    pub seeds: usize,
    cells: [Option<Cell>; Column::ALL.len()],
    /// The values of each seed.
    by_seed: BTreeMap<u64, [Option<f64>; Column::ALL.len()]>,
    /// The seeds whose DEE is at or beyond an end of their curve.
    bounds: BTreeMap<u64, Bound>,
}

/// What is known of a DEE where the curve of ensembles ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It is at or beyond DE-Nmax, and stands as Nmax.
    AtLeast,
    /// It is worse than DE-1, and stands as 1.
    AtMost,
}

/// One value over seeds, in the files' units (accuracy as a fraction).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation (n - 1); none with one seed.
    pub std: Option<f64>,
    /// What the mean is a bound of, where seeds have DEEs at an end of their curve; none where they are at both ends.
    pub bound: Option<Bound>,
}

impl Experiment {
    /// Nmax of DE-1..DE-Nmax: the most teachers that a seed has, zero without teachers.
    pub fn ensemble(&self) -> usize {
        self.teachers.values().copied().max().unwrap_or(0)
    }

    /// The row `name`, if there is one.
    pub fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}

impl Row {
    /// The row `name` with the values of each seed, what is a bound among its DEEs, and one cell a column.
    pub(super) fn new(
        name: String,
        by_seed: BTreeMap<u64, [Option<f64>; Column::ALL.len()]>,
        bounds: BTreeMap<u64, Bound>,
        cells: [Option<Cell>; Column::ALL.len()],
    ) -> Self {
        Self { name, seeds: by_seed.len(), cells, by_seed, bounds }
    }

    /// The values of each seed in `column`, where it applies.
    pub fn values(&self, column: Column) -> BTreeMap<u64, f64> {
        let value = |(seed, values): (&u64, &[Option<f64>; Column::ALL.len()])| {
            values[column as usize].map(|value| (*seed, value))
        };
        self.by_seed.iter().filter_map(value).collect()
    }

    /// The seeds that it is measured on.
    pub fn each_seed(&self) -> impl Iterator<Item = u64> {
        self.by_seed.keys().copied()
    }

    /// The seeds whose DEE is a bound, not a value.
    pub fn bounds(&self) -> &BTreeMap<u64, Bound> {
        &self.bounds
    }

    /// The value in `column`; none where the column does not apply.
    pub fn cell(&self, column: Column) -> Option<Cell> {
        self.cells[column as usize]
    }
}

impl Cell {
    /// The cell of one value a seed, of which some may be bounds; none without values.
    pub(crate) fn over_seeds(values: &[f64], bounds: impl IntoIterator<Item = Bound>) -> Option<Self> {
        let mut bounds = bounds.into_iter();
        let bound = bounds.next().filter(|first| bounds.all(|bound| bound == *first));
        (!values.is_empty()).then(|| Self { mean: mean(values), std: deviation(values), bound })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_sample_standard_deviation() {
        // 1, 2, 4: mean 7/3, squares 16/9 + 1/9 + 25/9 = 42/9, over n - 1 = 2: 7/3.
        let cell = Cell::over_seeds(&[1.0, 2.0, 4.0], []).unwrap();
        assert!((cell.mean - 7.0 / 3.0).abs() < 1e-15);
        assert!((cell.std.unwrap() - (7.0_f64 / 3.0).sqrt()).abs() < 1e-15);
        assert_eq!(Cell::over_seeds(&[0.1], []), Some(Cell { mean: 0.1, std: None, bound: None }));
        assert_eq!(Cell::over_seeds(&[], []), None);
    }

    #[test]
    fn a_mean_is_a_bound_where_seeds_are_at_one_end() {
        use Bound::{AtLeast, AtMost};
        let bound =
            |bounds: &[Bound]| Cell::over_seeds(&[1.0, 2.0, 4.0], bounds.iter().copied()).unwrap().bound;
        assert_eq!(bound(&[AtLeast]), Some(AtLeast));
        assert_eq!(bound(&[AtMost, AtMost]), Some(AtMost));
        assert_eq!(bound(&[AtMost, AtLeast]), None);
    }
}
