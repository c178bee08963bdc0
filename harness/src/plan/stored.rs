//! `plan.toml` beside an experiment's records: which runs were asked for, so that `divkd status` knows what is missing.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};

use super::{Plan, Row, Run, is_finished};
use crate::config::{MOST_NETWORKS, Resolved};
use crate::train::shared;
use crate::whole_file;

/// File name of the plan.
pub const PLAN: &str = "plan.toml";

/// The rows that were asked for, of all commands on one folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stored {
    #[serde(default)]
    row: Vec<StoredRow>,
}

/// One row with its seeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredRow {
    name: String,
    /// Seeds, from 1.
    seeds: u64,
    /// The first teachers, this many, are needed.
    teachers: usize,
}

impl Stored {
    /// The plan of an experiment's folder; none of its runs where there is no file.
    ///
    /// # Errors
    /// Where the file cannot be read or is not a plan.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(PLAN);
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) if error.kind() == std::io::ErrorKind::NotADirectory => {
                bail!("{} is no folder of records, or lies in a file: name another", folder.display())
            }
            text => {
                let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                Self::parse(&text).with_context(|| format!("{}: not a plan; remove it", path.display()))
            }
        }
    }

    /// The plan of a file's text.
    ///
    /// # Errors
    /// Where it is not one.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let plan: Self = toml::from_str(text)?;
        for StoredRow { name, seeds, teachers } in &plan.row {
            let most = (*seeds).max(*teachers as u64);
            ensure!(
                most <= MOST_NETWORKS as u64,
                "{most} seeds or teachers of {name} are more than {MOST_NETWORKS}"
            );
        }
        Ok(plan)
    }

    /// Adds the runs of `plan` to the file of its folder. Waits for another process that does so.
    ///
    /// # Errors
    /// Where the file cannot be read or written; a signal.
    pub fn add(plan: &Plan, resolved: &Resolved) -> anyhow::Result<()> {
        let last = plan.runs.iter().filter(|run| run.seed == resolved.config.seeds);
        let row =
            |run: &Run| StoredRow { name: run.row.to_string(), seeds: run.seed, teachers: run.needs.len() };
        Self { row: last.map(row).collect() }.merge_into(&plan.folder).map(|_| ())
    }

    /// Adds these rows to the file of `folder`; whether any of them was new. Waits for another process that does so.
    ///
    /// # Errors
    /// Where the file cannot be read or written; a signal.
    pub fn merge_into(self, folder: &Path) -> anyhow::Result<bool> {
        let _claim = shared::wait(&folder.join(".tmp-claim-plan"))?;
        let before = Self::read(folder)?;
        let mut all = before.clone();
        for new in self.row {
            match all.row.iter_mut().find(|row| row.name == new.name) {
                Some(row) => *row = StoredRow { seeds: row.seeds.max(new.seeds), ..new },
                None => all.row.push(new),
            }
        }
        if all == before {
            return Ok(false);
        }
        // Teachers first, then the students in the order in which they were asked for.
        all.row.sort_by_key(|row| match Row::from(row.name.as_str()) {
            Row::Teacher(j) => j,
            Row::Student(_) => usize::MAX,
        });
        whole_file::write(&folder.join(PLAN), toml::to_string(&all)?.as_bytes())?;
        Ok(true)
    }

    /// What of the plan of `folder` is still to be done, in a sentence.
    ///
    /// # Errors
    /// As [`Stored::read`].
    pub fn unfinished(folder: &Path) -> anyhow::Result<Option<String>> {
        let runs = Self::read(folder)?.runs(folder);
        let missing = runs.iter().filter(|run| !run.finished).count();
        Ok((missing > 0).then(|| {
            format!(
                "{missing} of the {} runs that were asked for in {} are not finished; `divkd status` says which",
                runs.len(),
                folder.display()
            )
        }))
    }

    /// The runs, seed by seed.
    pub fn runs(&self, folder: &Path) -> Vec<Run> {
        let seeds = self.row.iter().map(|row| row.seeds).max().unwrap_or(0);
        let mut runs = Vec::new();
        for seed in 1..=seeds {
            for stored in self.row.iter().filter(|row| seed <= row.seeds) {
                let row = Row::from(stored.name.as_str());
                let needs = (1..=stored.teachers).map(Row::Teacher).collect();
                let finished = is_finished(folder, &row, seed);
                runs.push(Run { row, seed, needs, finished });
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config, experiments::Experiment};

    /// Threads stand for processes: none loses what another adds.
    #[test]
    fn several_at_once_add_all_of_theirs() {
        let folder = tempfile::tempdir().unwrap();
        let experiment = Experiment::find("quick").unwrap();
        let resolved = config::resolve(&experiment, Some("smoke"), &[]).unwrap();
        let add = |name: String| {
            let run = Run { row: Row::Student(name), seed: 1, needs: Vec::new(), finished: false };
            Stored::add(&Plan { folder: folder.path().to_owned(), runs: vec![run] }, &resolved).unwrap();
        };
        std::thread::scope(|scope| {
            let add = &add;
            for thread in 0..4 {
                scope.spawn(move || (0..4).for_each(|turn| add(format!("row-{thread}-{turn}"))));
            }
        });
        assert_eq!(Stored::read(folder.path()).unwrap().row.len(), 16);
    }
}
