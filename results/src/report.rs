//! The report: one self-contained page about the records of one or several experiments, and the same figures and tables
//! as files. No script, no network, no date: equal records give equal bytes.
//!
//! Every figure is a `<figure>` whose id is [`Id::name`](crate::figure::Id::name) and whose `data-marks` is the number of
//! its marks. Where there are several experiments the ids of the first one's figures are these, and those of the others
//! are preceded by their folder's name and a hyphen.

mod claims;
mod facts;
mod files;
mod page;
mod provenance;
mod tables;

pub use files::{ReportFile, files};
pub use page::page;

use crate::check::claims::evaluate;
use crate::check::{Finding, Verdict};
use crate::figure::{self, Figure, Sources};

/// One experiment of a report.
#[derive(Clone, Debug)]
pub struct Section {
    /// What it is made from.
    pub sources: Sources,
    /// Its figures, in the order of [`Id::ALL`](crate::figure::Id::ALL).
    pub figures: Vec<Figure>,
    /// The paper's claims about these records.
    pub claims: Vec<Finding>,
}

impl Section {
    /// Draws and judges everything.
    pub fn new(sources: Sources) -> Self {
        let figures = figure::all(&sources);
        let claims = evaluate(&sources.experiment, &sources.train_kld).findings;
        Self { sources, figures, claims }
    }

    /// The folder's name.
    fn name(&self) -> &str {
        &self.sources.experiment.folder
    }
}

/// How a verdict on a claim is called.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "holds",
        Verdict::Fail => "does not hold",
        Verdict::Inconclusive | Verdict::New => "inconclusive",
    }
}
