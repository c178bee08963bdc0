//! Whether one row is better than another: paired differences with a hierarchical bootstrap over test images and seeds.
//!
//! Rows of one seed predict the same test images, so that differences are taken image by image; rows of different seeds
//! are different repetitions on the same images. A replicate draws N of the N test images and S of the S seeds, both with
//! replacement, the images once for all rows and seeds; a score of a row is computed anew on the drawn images of each
//! drawn seed and averaged over these. Temperatures stay those of the validation split. DEE is read off the same
//! replicate's curve of the same seed. Draws come from the counter-based generator: equal records give equal intervals.
//!
//! The replicates give the variance of a difference, and which part of it is the images' and which the seeds'. Their
//! quantiles would be too narrow an interval with a few seeds: three that agree by chance, as one in four triples do, would
//! decide. The interval is Student's t times the standard error, with the seeds' part scaled to an unbiased one and degrees
//! of freedom between S - 1, where only seeds differ, and infinity, where only images do. With one seed it covers the images
//! alone, and nothing is decided.

mod bootstrap;
mod scored;
mod tables;

use std::path::Path;

use crate::{Column, Result};

pub use tables::sheet;

/// The row that methods are compared with.
pub const BASELINE: &str = "be-kd";

/// Replicates of the bootstrap.
pub const REPLICATES: usize = 1000;

/// The difference of one row from the baseline in one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The row, such as `be-kd-ods` or `de-4`.
    pub row: String,
    /// What is compared, in the files' units (accuracy as a fraction).
    pub column: Column,
    /// The seeds that have both rows.
    pub seeds: Vec<u64>,
    /// The row's mean over these seeds.
    pub value: f64,
    /// The baseline's.
    pub baseline: f64,
    /// Lower end of the 95% interval of `value - baseline`.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Whether it is of DEEs one of which, on some seed, is beyond an end of the curve: a bound and no value.
    pub is_bound: bool,
    /// What the interval says; nothing of a bound.
    pub verdict: Verdict,
}

impl Difference {
    /// The mean difference: `value - baseline`.
    pub fn mean(&self) -> f64 {
        self.value - self.baseline
    }
}

/// What an interval says about a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The interval is on the good side of zero.
    Better,
    /// It is on the bad side.
    Worse,
    /// It is above zero, where neither side is better (KLD, disagreement).
    Higher,
    /// It is below zero, where neither side is better.
    Lower,
    /// It holds zero, there is one seed, or a DEE is a bound.
    Inconclusive,
}

impl Verdict {
    /// The verdict in a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Higher => "higher",
            Self::Lower => "lower",
            Self::Inconclusive => "inconclusive",
        }
    }

    fn of(low: f64, high: f64, column: Column, seeds: usize) -> Self {
        let is_positive = match (low > 0.0, high < 0.0) {
            (true, _) => true,
            (_, true) => false,
            _ => return Self::Inconclusive,
        };
        match column.more_is_better() {
            _ if seeds < 2 => Self::Inconclusive,
            Some(more) if more == is_positive => Self::Better,
            Some(_) => Self::Worse,
            None if is_positive => Self::Higher,
            None => Self::Lower,
        }
    }
}

/// Compares every other row of the records in `folder` (`<experiment>-<preset>`) with the row `baseline`, in every column
/// that both have. Rows in the tables' order; nothing where there is no baseline.
///
/// # Errors
/// As [`Table::build`](crate::table::Table::build): records that are damaged or do not belong together.
pub fn compare(folder: &Path, baseline: &str, replicates: usize) -> Result<Vec<Difference>> {
    let seeds = scored::read(folder)?;
    Ok(bootstrap::differences(&seeds, baseline, replicates))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_follow_the_side_of_the_column() {
        assert_eq!(Verdict::of(0.1, 0.2, Column::Acc, 3), Verdict::Better);
        assert_eq!(Verdict::of(0.1, 0.2, Column::Nll, 3), Verdict::Worse);
        assert_eq!(Verdict::of(-0.2, -0.1, Column::Nll, 3), Verdict::Better);
        assert_eq!(Verdict::of(-0.2, -0.1, Column::Kld, 3), Verdict::Lower);
        assert_eq!(Verdict::of(-0.1, 0.2, Column::Dee, 3), Verdict::Inconclusive);
        assert_eq!(Verdict::of(0.1, 0.2, Column::Acc, 1), Verdict::Inconclusive);
        assert_eq!(Verdict::of(0.0, 0.2, Column::Acc, 3), Verdict::Inconclusive);
    }
}
