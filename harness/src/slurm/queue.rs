//! What Slurm still has of what was submitted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::call::{self, Error};
use super::ledger::{Job, Submission};

/// What `squeue` is asked for a task: job, index, state, reason, nodes, name.
const FORMAT: &str = "%F|%K|%T|%r|%N|%j";

/// A task in Slurm's queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queued {
    /// `<job>_<task>`, or the job's number.
    pub job: String,
    /// Slurm's state, such as `PENDING` or `RUNNING`.
    pub state: String,
    /// Why it waits, such as `Dependency` or `Resources`.
    pub reason: String,
    /// Where it runs.
    pub nodes: String,
}

impl Queued {
    /// Whether it has begun.
    pub fn runs(&self) -> bool {
        ["RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED"].contains(&self.state.as_str())
    }
}

/// A task that was submitted and is in the queue no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// `<job>_<task>`.
    pub job: String,
    /// The file that it wrote to, if it began.
    pub log: PathBuf,
}

/// The tasks in the queue, and those that were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queue {
    /// By run, such as `be-kd/seed-1`.
    pub runs: BTreeMap<String, Queued>,
    /// Those that evaluate.
    pub evaluations: Vec<Queued>,
    /// Numbers of the jobs, by their names.
    pub ids: BTreeMap<String, u64>,
    /// The last that a run was submitted with, by run, where that is over. The run need not be.
    pub gone: BTreeMap<String, Gone>,
}

impl Queue {
    /// Asks Slurm for the jobs of `submissions`; asks nothing where there are none.
    ///
    /// # Errors
    /// Where there is no `squeue`, or it does not answer.
    pub fn ask(submissions: &[Submission]) -> Result<Self, Error> {
        let jobs: Vec<&Job> = submissions.iter().flat_map(|submission| &submission.jobs).collect();
        let mut answer = String::new();
        let ask = |option: &str, values: Vec<String>| {
            if values.is_empty() {
                return Ok(String::new());
            }
            let words = ["--noheader", "--array", "--format", FORMAT, option].map(str::to_owned);
            let words: Vec<String> = words.into_iter().chain([values.join(",")]).collect();
            match call::call("squeue", &words) {
                // A single job that is over.
                Err(Error::Refused { message, .. }) if message.contains("Invalid job id") => {
                    Ok(String::new())
                }
                answer => answer,
            }
        };
        answer += &ask("--jobs", jobs.iter().filter_map(|job| Some(job.id?.to_string())).collect())?;
        let nameless = jobs.iter().filter(|job| job.id.is_none());
        answer += &ask("--name", nameless.map(|job| job.name.clone()).collect())?;
        let mut queue = Self::parse(&answer, &jobs);
        queue.gone =
            submissions.iter().flat_map(gone).filter(|(run, _)| !queue.runs.contains_key(run)).collect();
        Ok(queue)
    }

    /// Reads lines of [`FORMAT`].
    fn parse(answer: &str, jobs: &[&Job]) -> Self {
        let by_name: BTreeMap<&str, &Job> = jobs.iter().map(|job| (job.name.as_str(), *job)).collect();
        let mut queue = Self::default();
        for line in answer.lines() {
            let [number, index, state, reason, nodes, name] = line.split('|').collect::<Vec<_>>()[..] else {
                continue;
            };
            let (Some(job), Ok(id)) = (by_name.get(name), number.parse()) else { continue };
            // Slurm removes it, or has yet to.
            if reason == "DependencyNeverSatisfied" {
                continue;
            }
            queue.ids.insert(name.to_owned(), id);
            let index: Option<usize> = index.parse().ok();
            let queued = Queued {
                job: index.map_or_else(|| number.to_owned(), |index| format!("{number}_{index}")),
                state: state.to_owned(),
                reason: reason.to_owned(),
                nodes: nodes.to_owned(),
            };
            if job.evaluates() {
                queue.evaluations.push(queued);
            } else if let Some(runs) = index.and_then(|index| job.tasks.get(index)) {
                queue.runs.extend(runs.iter().map(|run| (run.clone(), queued.clone())));
            }
        }
        queue
    }

    /// Whether nothing of it is left.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.evaluations.is_empty()
    }
}

/// The runs of a submission, as if all its jobs were over.
fn gone(submission: &Submission) -> Vec<(String, Gone)> {
    let mut all = Vec::new();
    for job in &submission.jobs {
        let Some(id) = job.id else { continue };
        for (index, runs) in job.tasks.iter().enumerate() {
            let gone = Gone { job: format!("{id}_{index}"), log: submission.log(job, index) };
            all.extend(runs.iter().map(|run| (run.clone(), gone.clone())));
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_squeue_find_their_runs() {
        let job = |name: &str, tasks: &[&[&str]]| Job {
            name: name.to_owned(),
            script: String::new(),
            id: None,
            dependency: String::new(),
            tasks: tasks.iter().map(|task| task.iter().map(|run| (*run).to_owned()).collect()).collect(),
        };
        let jobs = [
            job("q.teachers", &[&["teacher-1/seed-1"], &["teacher-2/seed-1", "be/seed-1"]]),
            job("q.last", &[]),
        ];
        let answer = "12|1|RUNNING|None|n2|q.teachers\n12|0|PENDING|Resources||q.teachers\n\
                      13|N/A|PENDING|Dependency||q.last\n14|0|RUNNING|None|n1|another's\nnonsense\n";
        let queue = Queue::parse(answer, &jobs.iter().collect::<Vec<_>>());
        let shown: Vec<String> = queue
            .runs
            .iter()
            .map(|(run, at)| format!("{run} {} {} {}", at.job, at.state, at.runs()))
            .collect();
        assert_eq!(
            shown,
            [
                "be/seed-1 12_1 RUNNING true",
                "teacher-1/seed-1 12_0 PENDING false",
                "teacher-2/seed-1 12_1 RUNNING true"
            ]
        );
        assert_eq!(queue.evaluations.len(), 1);
        assert_eq!((queue.evaluations[0].job.as_str(), queue.ids["q.teachers"]), ("13", 12));
        let never = "12|0|PENDING|DependencyNeverSatisfied||q.teachers\n";
        assert!(Queue::parse(never, &jobs.iter().collect::<Vec<_>>()).is_empty());
    }
}
