//! Whether finished records are those that a command asks for: a table never mixes settings, precisions or data.

use std::collections::BTreeMap;

use anyhow::bail;
use nn::Precision;
use results::record::{DataInfo, RecordPath, scan_one};
use toml::Table;

use crate::config::{self, Resolved};
use crate::device;
use crate::plan::{Plan, Row, Run, run_dir};
use crate::train::record::{self, REVISION, short};

/// What the records in a plan's folder must be of.
pub(super) struct Expected<'a> {
    plan: &'a Plan,
    config: Table,
    precision: Precision,
}

impl<'a> Expected<'a> {
    /// The records of `resolved`, trained in `precision`.
    ///
    /// # Errors
    /// An unknown precision.
    pub(super) fn new(plan: &'a Plan, resolved: &Resolved, precision: &str) -> anyhow::Result<Self> {
        Ok(Self { plan, config: resolved.table()?, precision: device::precision(precision)? })
    }

    /// Refuses records in the plan's folder of other settings or precision or, where they are known, data: those of rows
    /// that are not in the plan too, for the table has them all.
    ///
    /// # Errors
    /// The first such record with its differences; one that cannot be read.
    pub(super) fn folder(&self, data: Option<&DataInfo>) -> anyhow::Result<()> {
        for found in self.found()? {
            self.record(&Row::from(found.row.as_str()), found.seed, data)?;
        }
        Ok(())
    }

    /// A line on the records in the plan's folder that another version of the program made, where there are any. They are as
    /// good as others unless what it computes has changed since, which nobody can tell but who changed it.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub(super) fn other_versions(&self) -> anyhow::Result<Option<String>> {
        let mut others = BTreeMap::new();
        for found in self.found()? {
            let revision = record::read_info(&found.dir)?.revision;
            if revision != REVISION {
                *others.entry(short(&revision)).or_insert(0) += 1;
            }
        }
        let counts: Vec<String> = others.iter().map(|(name, count)| format!("{count} by {name}")).collect();
        Ok((!counts.is_empty()).then(|| {
            format!(
                "note: records in {} were made by other versions of divkd ({}; this is {}): name another --out if a \
                 method or the training has changed since",
                self.plan.folder.display(),
                counts.join(", "),
                short(REVISION)
            )
        }))
    }

    /// The records in the plan's folder.
    fn found(&self) -> anyhow::Result<Vec<RecordPath>> {
        let folder = &self.plan.folder;
        Ok(if folder.is_dir() { scan_one(folder)? } else { Vec::new() })
    }

    /// The same of one finished run.
    ///
    /// # Errors
    /// The differences.
    pub(super) fn run(&self, run: &Run, data: Option<&DataInfo>) -> anyhow::Result<()> {
        self.record(&run.row, run.seed, data)
    }

    /// The same of one record. Pieces of a batch (`--micro-batch`) change a result by rounding alone, as another device does,
    /// and are not compared.
    ///
    /// # Errors
    /// The differences.
    pub(super) fn record(&self, row: &Row, seed: u64, data: Option<&DataInfo>) -> anyhow::Result<()> {
        let dir = run_dir(&self.plan.folder, row, seed);
        let was = record::read_info(&dir)?;
        let inputs = |config: &Table, data: &DataInfo, precision: Precision| {
            let mut table = record::inputs(config, data, row);
            table.insert(record::PRECISION.to_owned(), precision.to_string().into());
            table
        };
        let differences = config::differences(
            &inputs(&was.config, &was.data, device::precision_of(&was.device)),
            &inputs(&self.config, data.unwrap_or(&was.data), self.precision),
        );
        if !differences.is_empty() {
            bail!(
                "{} was made with other settings or data; name another --out, or move it away:\n  {}",
                dir.display(),
                differences.join("\n  ")
            );
        }
        Ok(())
    }
}
