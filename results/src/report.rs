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
mod paired;
mod provenance;
mod tables;

pub use files::{ReportFile, files};
pub use page::page;

use std::path::Path;

use crate::Result;
use crate::analysis::tables as analyses;
use crate::check::claims::evaluate;
use crate::check::{Finding, Verdict};
use crate::compare::{self, BASELINE, Difference, REPLICATES};
use crate::figure::{self, Figure, Sources};
use crate::sheet::Sheet;
use crate::table::Experiment;

/// One experiment of a report.
#[derive(Clone, Debug)]
pub struct Section {
    /// What it is made from.
    pub sources: Sources,
    /// Its figures, in the order of [`Id::ALL`](crate::figure::Id::ALL).
    pub figures: Vec<Figure>,
    /// The paper's claims about these records.
    pub claims: Vec<Finding>,
    /// Every row against the baseline.
    pub differences: Vec<Difference>,
    /// The figures as tables, each with the stem of its file.
    pub sheets: Vec<(&'static str, Sheet)>,
}

impl Section {
    /// Reads, draws and judges the records in `folder`, an experiment's (`<experiment>-<preset>`).
    ///
    /// # Errors
    /// As [`Experiment::read`] and [`Sources::read`].
    pub fn read(folder: &Path) -> Result<Self> {
        let experiment = Experiment::read(folder)?;
        let sources = Sources::read(folder, &experiment)?;
        let differences = compare::compare(folder, BASELINE, REPLICATES)?;
        let source = &sources.source;
        let sheets = [
            ("confidence", analyses::confidence(source)),
            ("diversity", analyses::diversity(source)),
            ("transfer", analyses::transfer(source)),
            ("jacobian", analyses::jacobian(source)),
            ("remainder", analyses::remainder(source)),
        ];
        let paired = (PAIRED, compare::sheet(&experiment.folder, BASELINE, &differences));
        Ok(Self {
            figures: figure::all(&sources),
            claims: evaluate(&sources.experiment, &sources.train_kld).findings,
            sheets: sheets.into_iter().chain([paired]).filter(|(_, sheet)| !sheet.lines.is_empty()).collect(),
            differences,
            sources,
        })
    }

    /// The folder's name.
    fn name(&self) -> &str {
        &self.sources.experiment.folder
    }
}

/// The stem of the files of the comparison with the baseline.
const PAIRED: &str = "paired";

/// How a verdict on a claim is called.
fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "holds",
        Verdict::Fail => "does not hold",
        Verdict::Inconclusive | Verdict::New => "inconclusive",
    }
}
