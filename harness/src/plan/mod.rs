//! The graph of runs of an experiment: which runs there are, what each needs, and which are finished.
//!
//! Teachers are runs of their own, shared by all students of their seed: a student needs the first M of them. A run is
//! finished once its folder is there: folders get their names when they are complete.

mod estimate;
pub mod loss;
mod print;
pub mod schedule;
pub mod stored;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use methods::{Method, Recipe};

use crate::cli::WrongOptions;
use crate::config::{Config, RecipeConfig, Resolved};
use crate::device::Chosen;

pub use estimate::{Cost, Estimate};
pub(crate) use print::duration;
use schedule::Job;

/// A row of the records: one teacher, or a student by its method.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    /// `teacher-<j>`, j from 1.
    Teacher(usize),
    /// The method's name.
    Student(String),
}

impl Row {
    /// The name of the method that trains this row.
    pub fn method(&self) -> &str {
        match self {
            Self::Teacher(_) => "teacher",
            Self::Student(name) => name,
        }
    }
}

impl From<&str> for Row {
    /// The row of a record's folder.
    fn from(name: &str) -> Self {
        results::rows::teacher_index(name).map_or_else(|| Self::Student(name.to_owned()), Self::Teacher)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Teacher(j) => write!(f, "teacher-{j}"),
            Self::Student(name) => f.write_str(name),
        }
    }
}

/// One network to train.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The row that it belongs to.
    pub row: Row,
    /// The repetition, from 1.
    pub seed: u64,
    /// The teachers of the same seed that must be finished first, in the order of the student's subnetworks.
    pub needs: Vec<Row>,
    /// Whether its record is there.
    pub finished: bool,
}

/// All runs of an experiment, in an order in which each comes after what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The folder of the experiment's records.
    pub folder: PathBuf,
    /// The runs, seed by seed, teachers first.
    pub runs: Vec<Run>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/seed-{}", self.row, self.seed)
    }
}

impl Plan {
    /// The plan of an experiment whose records go to `out`.
    ///
    /// # Errors
    /// Where a method does not read its settings; [`WrongOptions`] where it is not defined for so few members.
    pub fn new(resolved: &Resolved, out: &Path) -> anyhow::Result<Self> {
        let folder = out.join(resolved.folder());
        let rows = rows(&resolved.config)?;
        let mut runs = Vec::new();
        for (row, _) in &rows {
            check_members(&resolved.config, row)?;
        }
        for seed in 1..=resolved.config.seeds {
            for (row, needs) in &rows {
                let finished = is_finished(&folder, row, seed);
                runs.push(Run { row: row.clone(), seed, needs: needs.clone(), finished });
            }
        }
        Ok(Self { folder, runs })
    }

    /// The plan of one run, of any seed.
    ///
    /// # Errors
    /// Where the experiment has no such row, with the nearest one; as [`Plan::new`].
    pub fn of_one(resolved: &Resolved, out: &Path, row: &str, seed: u64) -> anyhow::Result<Self> {
        let folder = out.join(resolved.folder());
        let rows = rows(&resolved.config)?;
        let names = rows.iter().map(|(row, _)| row.to_string());
        let unknown = || crate::nearest::UnknownName::new("row", row, names);
        let (row, needs) =
            rows.iter().find(|(known, _)| known.to_string() == row).cloned().ok_or_else(unknown)?;
        check_members(&resolved.config, &row)?;
        let finished = is_finished(&folder, &row, seed);
        Ok(Self { folder, runs: vec![Run { row, seed, needs, finished }] })
    }

    /// The runs that are still to be trained.
    pub fn missing(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| !run.finished)
    }

    /// The plan as text: one line a row, with `estimate` of the missing runs where there is one.
    pub fn describe(
        &self,
        resolved: &Resolved,
        device: &str,
        estimate: Option<&Estimate>,
    ) -> anyhow::Result<String> {
        print::describe(self, resolved, device, estimate)
    }

    /// The missing runs as jobs for a [schedule](schedule::schedule), each as long as `seconds` says.
    ///
    /// # Errors
    /// Those of `seconds`.
    pub fn jobs(&self, seconds: impl Fn(&Run) -> anyhow::Result<f64>) -> anyhow::Result<Vec<Job>> {
        let mut index = BTreeMap::new();
        let mut jobs = Vec::new();
        for run in self.missing() {
            let needs = run.needs.iter().filter_map(|row| index.get(&(row, run.seed)).copied()).collect();
            index.insert((&run.row, run.seed), jobs.len());
            jobs.push(Job { seconds: seconds(run)?, needs });
        }
        Ok(jobs)
    }

    /// Times a few steps of each kind of missing run on `device`, and counts their operations.
    ///
    /// # Errors
    /// Where a step fails, such as for lack of memory.
    pub fn estimate(&self, config: &Config, device: &Chosen) -> anyhow::Result<Estimate> {
        estimate::measure(self, config, device)
    }
}

/// The rows of every seed, teachers first, each with the teachers that it needs.
fn rows(config: &Config) -> anyhow::Result<Vec<(Row, Vec<Row>)>> {
    let mut students = Vec::new();
    let mut has_teachers = false;
    for name in &config.methods {
        let uses_teachers = name != "teacher" && method(config, name)?.uses_teachers();
        has_teachers |= name == "teacher" || uses_teachers;
        if name != "teacher" {
            let needs = if uses_teachers { config.members } else { 0 };
            students.push((Row::Student(name.clone()), (1..=needs).map(Row::Teacher).collect()));
        }
    }
    let teachers = if has_teachers { config.teachers } else { 0 };
    Ok((1..=teachers).map(|j| (Row::Teacher(j), Vec::new())).chain(students).collect())
}

/// Refuses a row whose method is not defined for so few members.
fn check_members(config: &Config, row: &Row) -> anyhow::Result<()> {
    let (name, members) = (row.method(), config.members);
    let least = method(config, name)?.least_members();
    if members < least {
        let what = format!(
            "{name} is defined for {least} members or more, and they are {members}: raise --members, or leave it \
             out of --methods"
        );
        return Err(WrongOptions(what).into());
    }
    Ok(())
}

/// Whether the record of a run is there. Asks the folder where a name is missing: on a network file system its absence may
/// be a minute old, the listing of a folder that is opened is not.
pub fn is_finished(folder: &Path, row: &Row, seed: u64) -> bool {
    let dir = run_dir(folder, row, seed);
    dir.is_dir()
        || dir
            .parent()
            .is_some_and(|row| std::fs::read_dir(row).is_ok_and(|mut entries| entries.next().is_some()))
            && dir.is_dir()
}

/// The folder of a run's record: `<folder>/<row>/seed-<n>`.
pub fn run_dir(folder: &Path, row: &Row, seed: u64) -> PathBuf {
    folder.join(row.to_string()).join(format!("seed-{seed}"))
}

/// The method `name` with its settings from the experiment.
///
/// # Errors
/// Where the name is unknown or the settings do not fit; a resolved configuration has neither.
pub fn method(config: &Config, name: &str) -> anyhow::Result<Box<dyn Method>> {
    let entry = crate::model::method(name)?;
    Ok((entry.from_toml)(config.method.get(name).cloned().unwrap_or_default())?)
}

/// The recipe that `method`, of the name `name`, trains with: its own where it has one.
pub fn recipe<'a>(config: &'a Config, name: &str, method: &dyn Method) -> &'a RecipeConfig {
    config.recipe.get(name).unwrap_or(match method.recipe() {
        Recipe::Teacher => &config.teacher,
        Recipe::Student => &config.student,
    })
}
