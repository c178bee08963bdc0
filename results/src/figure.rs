//! The paper's figures, from stored records: what each is drawn from, its drawing as SVG and PNG, the number that it
//! comes down to, and whether the paper's claim about it holds.
//!
//! A figure is 360 units wide, so that a phone shows it at its natural size and a paper's column
//! too. The SVG is written here rather than by a plotting crate: places of labels follow the widths of an embedded
//! font, colours are classes that a page restyles for a dark ground, and marks can be counted.
//!
//! One module a figure; each has a function `figure` from [`Sources`] to [`Figure`].

mod canvas;
mod confidence;
mod cost;
mod curves;
mod dee;
mod diversity;
mod diversity_students;
mod diversity_teachers;
mod drawing;
mod font;
mod jacobian;
mod legend;
mod listing;
mod panel;
mod reliability;
mod scale;
mod sources;
pub(crate) mod style;
mod transfer;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub use drawing::Drawing;
pub use sources::{Run, Sources};

use crate::check::Finding;
use crate::table::{Bound, Cell};

/// Which figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// Histogram of the teachers' confidence on training images (the paper's figure 1).
    Confidence,
    /// The teachers' diversity by confidence (figure 3).
    DiversityTeachers,
    /// The students' diversity by confidence (figure 3).
    DiversityStudents,
    /// Perturbations made by one teacher, seen by another (figure 6).
    Transfer,
    /// How close the students' Jacobians are to the teachers' (section 5.3).
    Jacobian,
    /// Accuracy against confidence on test images.
    Reliability,
    /// Loss and accuracy by epoch.
    Curves,
    /// Accuracy against what a prediction costs.
    Cost,
    /// The deep-ensemble equivalents on the ensembles' curve.
    Dee,
}

impl Id {
    /// Every figure, in the order of a report.
    pub const ALL: [Self; 9] = [
        Self::Confidence,
        Self::DiversityTeachers,
        Self::DiversityStudents,
        Self::Transfer,
        Self::Jacobian,
        Self::Reliability,
        Self::Curves,
        Self::Cost,
        Self::Dee,
    ];

    /// The id in a report and the stem of files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confidence => "confidence",
            Self::DiversityTeachers => "diversity-teachers",
            Self::DiversityStudents => "diversity-students",
            Self::Transfer => "transfer",
            Self::Jacobian => "jacobian",
            Self::Reliability => "reliability",
            Self::Curves => "curves",
            Self::Cost => "cost",
            Self::Dee => "dee",
        }
    }

    /// What the figure shows, in a few words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Confidence => "Confidence of the teachers",
            Self::DiversityTeachers => "Diversity of the teachers",
            Self::DiversityStudents => "Diversity of the students",
            Self::Transfer => "Transfer of ODS between teachers",
            Self::Jacobian => "Jacobians of students and teachers",
            Self::Reliability => "Reliability on test images",
            Self::Curves => "Training curves",
            Self::Cost => "Accuracy against cost",
            Self::Dee => "Deep-ensemble equivalent",
        }
    }
}

/// A figure with what is said under it.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Which one.
    pub id: Id,
    /// The drawing, or why the records cannot give it.
    pub drawing: Result<Drawing, String>,
    /// The number that it comes down to; empty where there is none.
    pub number: String,
    /// What it shows.
    pub sentence: String,
    /// A statement of the paper about it, and whether it holds in these runs.
    pub claim: Finding,
}

/// Draws every figure of an experiment, in the order of [`Id::ALL`].
pub fn all(sources: &Sources) -> Vec<Figure> {
    let draw = |id| match id {
        Id::Confidence => confidence::figure(sources),
        Id::DiversityTeachers => diversity_teachers::figure(sources),
        Id::DiversityStudents => diversity_students::figure(sources),
        Id::Transfer => transfer::figure(sources),
        Id::Jacobian => jacobian::figure(sources),
        Id::Reliability => reliability::figure(sources),
        Id::Curves => curves::figure(sources),
        Id::Cost => cost::figure(sources),
        Id::Dee => dee::figure(sources),
    };
    Id::ALL.into_iter().map(draw).collect()
}

/// Why a figure of what only weights and images give is missing.
const NO_ANALYSES: &str = "These records lack the arrays that this figure is drawn from. They are made of the networks' \
                           weights and the images: `divkd analyze`, where the weights are, adds them.";

/// `mean ± std`, or the mean alone of one seed.
fn estimate(cell: Cell, decimals: usize) -> String {
    let mean = format!("{:.decimals$}", cell.mean).replace('-', "−");
    let mean = match cell.bound {
        Some(Bound::AtLeast) => format!("≥ {mean}"),
        Some(Bound::AtMost) => format!("≤ {mean}"),
        None => mean,
    };
    match cell.std {
        Some(std) => format!("{mean} ± {std:.decimals$}"),
        None => mean,
    }
}

/// Mean and spread of one value a seed; none without a seed.
fn over_seeds(by_seed: &BTreeMap<u64, f64>) -> Option<Cell> {
    Cell::over_seeds(&by_seed.values().copied().collect::<Vec<_>>(), [])
}

/// The ends of the error bar: one standard deviation to both sides.
fn ends(cell: Cell) -> (f64, f64) {
    let std = cell.std.unwrap_or(0.0);
    (cell.mean - std, cell.mean + std)
}

/// How many seeds the rows of a figure have, from the fewest to the most, for the end of its sentence.
fn seeds(counts: RangeInclusive<usize>) -> String {
    const BARS: &str = "error bars and bands are one standard deviation.";
    match counts.into_inner() {
        (_, 0) => String::new(),
        (_, 1) => "One seed, so no error bars.".to_owned(),
        (fewest, most) if fewest < most => {
            format!("Means of {fewest} to {most} seeds, those that a row has; {BARS}")
        }
        (_, most) => format!("Means of {most} seeds; {BARS}"),
    }
}
