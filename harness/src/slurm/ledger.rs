//! What was submitted, beside an experiment's records: `.slurm/<n>/` holds a submission's scripts, logs and `jobs.toml`.
//!
//! A job is written down before `sbatch` is called and its number after, so that a submission that was killed in between
//! is found again by the job's name, which no other job has.

use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::whole_file;

/// File name of a submission's jobs.
const JOBS: &str = "jobs.toml";

/// One job, or an array of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// Its name in Slurm's queue.
    pub name: String,
    /// Its script, in the submission's folder.
    pub script: String,
    /// Its number; absent until `sbatch` has told it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// The jobs that it waits for, as `sbatch` was told.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dependency: String,
    /// The runs of each task, such as `be-kd/seed-1`; none of the job that evaluates.
    #[serde(default)]
    pub tasks: Vec<Vec<String>>,
}

impl Job {
    /// Whether it is the one that evaluates.
    pub fn evaluates(&self) -> bool {
        self.tasks.is_empty()
    }
}

/// One submission.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// Its folder.
    #[serde(skip)]
    pub dir: PathBuf,
    /// Its jobs, in the order in which they are submitted.
    #[serde(default, rename = "job")]
    pub jobs: Vec<Job>,
    /// The configuration that its runs are trained with; those of earlier versions do not say.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub config: toml::Table,
}

impl Submission {
    /// Begins the next submission of the experiment in `folder`, an absolute path, with runs of `config`.
    ///
    /// # Errors
    /// Where its folder cannot be made.
    pub fn begin(folder: &Path, config: toml::Table) -> anyhow::Result<Self> {
        let all = folder.join(".slurm");
        let next = numbers(&all)?.last().unwrap_or(&0) + 1;
        let dir = all.join(next.to_string());
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        Ok(Self { dir, jobs: Vec::new(), config })
    }

    /// A name for a job that no other has: that of its script, after the experiment's folder.
    pub fn job_name(&self, stem: &str) -> String {
        let folder = self.dir.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default();
        let nonce = RandomState::new().hash_one(&self.dir) as u32;
        format!("{}.{stem}.{nonce:08x}", folder.to_string_lossy())
    }

    /// The file that a task of `job` writes to.
    pub fn log(&self, job: &Job, task: usize) -> PathBuf {
        let stem = job.script.strip_suffix(".sbatch").unwrap_or(&job.script);
        self.dir.join(format!("{stem}.{task}.log"))
    }

    /// Writes the jobs down.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self) -> anyhow::Result<()> {
        whole_file::write(&self.dir.join(JOBS), toml::to_string(self)?.as_bytes())
    }
}

/// All submissions of the experiment in `folder`, oldest first.
///
/// # Errors
/// Where a file cannot be read or is not one of ours.
pub fn read(folder: &Path) -> anyhow::Result<Vec<Submission>> {
    let all = folder.join(".slurm");
    let mut submissions = Vec::new();
    for number in numbers(&all)? {
        let dir = all.join(number.to_string());
        let path = dir.join(JOBS);
        match fs::read_to_string(&path) {
            // Begun, and ended before its first job.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            text => {
                let text = text.with_context(|| format!("cannot read {}", path.display()))?;
                let read: Submission = toml::from_str(&text)
                    .with_context(|| format!("{}: not a list of jobs", path.display()))?;
                submissions.push(Submission { dir, ..read });
            }
        }
    }
    Ok(submissions)
}

fn numbers(all: &Path) -> anyhow::Result<Vec<u64>> {
    let entries = match fs::read_dir(all) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot read {}", all.display()))?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submissions_are_read_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(folder.path()).unwrap().is_empty());
        let mut written = Vec::new();
        for id in [Some(7), None] {
            let mut submission = Submission::begin(folder.path(), toml::Table::new()).unwrap();
            let tasks = vec![vec!["be/seed-1".to_owned(), "kd/seed-1".to_owned()]];
            let (name, script) = (submission.job_name("scratch-seed-1"), "scratch-seed-1.sbatch".to_owned());
            submission.jobs.push(Job { name, script, id, dependency: String::new(), tasks });
            submission.write().unwrap();
            written.push(submission);
        }
        Submission::begin(folder.path(), toml::Table::new()).unwrap();
        assert_eq!(read(folder.path()).unwrap(), written);
        assert_ne!(written[0].jobs[0].name, written[1].jobs[0].name);
        let stem = folder.path().file_name().unwrap().to_str().unwrap();
        assert!(written[0].jobs[0].name.starts_with(&format!("{stem}.scratch-seed-1.")));
    }
}
