//! What became of the attempts at a run, kept beside its checkpoints until it is finished.
//!
//! A scheduler starts a failed or killed run again, which must end where it cannot help: a job whose run fails three times
//! in the same epoch gives it up. An attempt that ended without a word (killed, out of memory, its node lost, its time
//! over) counts as a failure where it left no checkpoint. Started anew, by hand or as a new job, a run has three more.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::interrupt::Interrupted;
use crate::whole_file;

/// Failures in one epoch after which a job gives a run up.
const FAILURES: usize = 3;
/// Attempts that are remembered.
const KEPT: usize = 20;

/// One attempt at a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attempt {
    /// The scheduler's job, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// The file that its standard error went to, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<PathBuf>,
    /// When it began or failed, in seconds since 1970.
    pub time: u64,
    /// Where it began: epochs that were over and steps of the next one. Where it failed: the epochs before, none where it had
    /// not begun to train, and no steps.
    pub epochs: usize,
    /// See `epochs`.
    pub steps: usize,
    /// Why it failed; absent where it runs, was stopped, or ended without a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A run failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{run} failed {moment}{}", .count.map(|n| format!(", failure {n} of {FAILURES} there")).unwrap_or_default())]
pub struct Failed {
    run: String,
    moment: Moment,
    /// Failures of this job in this epoch; absent outside a job, and where they cannot be noted.
    count: Option<usize>,
}

/// How far a run was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its teachers and checkpoints were being read.
    Before,
    /// So many epochs of so many were over.
    After {
        /// Those that were over.
        epochs: usize,
        /// All of the recipe.
        of: usize,
    },
}

impl Moment {
    fn epochs(self) -> usize {
        match self {
            Self::Before => 0,
            Self::After { epochs, .. } => epochs,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before => f.write_str("before its first step"),
            Self::After { epochs, of } if epochs < of => write!(f, "in epoch {}", epochs + 1),
            Self::After { .. } => f.write_str("after its last epoch"),
        }
    }
}

impl Failed {
    /// Whether the scheduler should start it again.
    pub fn again(&self) -> bool {
        self.count.is_some_and(|count| count < FAILURES)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Log {
    #[serde(default)]
    attempt: Vec<Attempt>,
}

/// The attempts at one run.
pub struct Attempts {
    path: PathBuf,
    run: String,
    job: Option<String>,
    log: Log,
}

impl Attempts {
    /// The attempts at `run` that the folder of its checkpoints tells of, for an attempt by `job`. What cannot be read is
    /// forgotten.
    pub fn open(dir: &Path, run: String, job: Option<String>) -> Self {
        let path = dir.join(".attempts.toml");
        let log = fs::read_to_string(&path).ok().and_then(|text| toml::from_str(&text).ok());
        Self { path, run, job, log: log.unwrap_or_default() }
    }

    /// The last one.
    pub fn last(&self) -> Option<&Attempt> {
        self.log.attempt.last()
    }

    /// Notes that an attempt begins at that moment, `steps` steps into an epoch. By hand nothing is counted, and what failed
    /// before is only said to be over.
    ///
    /// # Errors
    /// [`Failed`], not to be tried again, where the job has failed too often in this epoch.
    pub fn begin(&mut self, moment: Moment, steps: usize) -> anyhow::Result<()> {
        if self.job.is_none() && self.last().is_none_or(|last| last.failure.is_none()) {
            return Ok(());
        }
        let epochs = moment.epochs();
        let place = (epochs, steps);
        if self.job.is_some()
            && let Some(last) = self.log.attempt.last_mut()
            && last.job == self.job
            && last.failure.is_none()
            && (last.epochs, last.steps) == place
        {
            last.failure = Some(
                "it ended without a word and without a checkpoint: killed, out of memory or out of time"
                    .to_owned(),
            );
        }
        if self.job.is_some() && self.failures(epochs) >= FAILURES {
            self.write();
            let reason = self.last().and_then(|last| last.failure.clone()).unwrap_or_default();
            return Err(anyhow::anyhow!(reason).context(self.failed(moment)));
        }
        let attempt = self.attempt(epochs, steps, None);
        self.log.attempt.push(attempt);
        self.write();
        Ok(())
    }

    /// Notes that the attempt failed at that moment, and returns `error` as [`Failed`]; as it is, where a signal or another
    /// process ended the run. Where the note cannot be written there is no further attempt: a job could fail for ever.
    pub fn end(&mut self, moment: Moment, error: anyhow::Error) -> anyhow::Error {
        if !is_failure(&error) {
            return error;
        }
        let is_noted = self.note(moment, &error);
        let failed = self.failed(moment);
        error.context(Failed { count: failed.count.filter(|_| is_noted), ..failed })
    }

    /// Notes what kept the run from being begun, for `divkd status`; whatever else it means is for others to say.
    pub fn never_began(&mut self, error: &anyhow::Error) {
        if is_failure(error) && !error.is::<Failed>() {
            self.note(Moment::Before, error);
        }
    }

    /// Whether it could be written.
    fn note(&mut self, moment: Moment, error: &anyhow::Error) -> bool {
        let is_begun = |last: &Attempt| last.job == self.job && last.failure.is_none();
        if self.last().is_some_and(is_begun) {
            self.log.attempt.pop();
        }
        let attempt = self.attempt(moment.epochs(), 0, Some(format!("{error:#}")));
        self.log.attempt.push(attempt);
        self.write()
    }

    fn attempt(&self, epochs: usize, steps: usize, failure: Option<String>) -> Attempt {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Attempt { job: self.job.clone(), log: log_file(), time, epochs, steps, failure }
    }

    fn failures(&self, epochs: usize) -> usize {
        let same = |at: &&Attempt| at.job == self.job && at.epochs == epochs && at.failure.is_some();
        self.log.attempt.iter().filter(same).count()
    }

    fn failed(&self, moment: Moment) -> Failed {
        let count = self.job.is_some().then(|| self.failures(moment.epochs()));
        Failed { run: self.run.clone(), moment, count }
    }

    /// Whether it was written: a note that cannot be costs attempts, not results.
    fn write(&mut self) -> bool {
        let old = self.log.attempt.len().saturating_sub(KEPT);
        self.log.attempt.drain(..old);
        whole_file::make(&self.path, |draft| Ok(fs::write(draft, toml::to_string(&self.log)?)?)).is_ok()
    }
}

/// Whether a run failed by it, and was not stopped.
fn is_failure(error: &anyhow::Error) -> bool {
    let taken_over = matches!(error.downcast_ref::<claims::Error>(), Some(claims::Error::TakenOver { .. }));
    !taken_over && !error.is::<Interrupted>()
}

/// The file that standard error goes to.
fn log_file() -> Option<PathBuf> {
    fs::read_link("/proc/self/fd/2").ok().filter(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn open(dir: &Path, job: Option<&str>) -> Attempts {
        Attempts::open(dir, "be/seed-1".to_owned(), job.map(str::to_owned))
    }

    fn after(epochs: usize) -> Moment {
        Moment::After { epochs, of: 5 }
    }

    fn fail(dir: &Path, job: Option<&str>, epochs: usize) -> (String, bool) {
        let mut attempts = open(dir, job);
        attempts.begin(after(epochs), 0).unwrap();
        let error = attempts.end(after(epochs), anyhow!("the loss is NaN"));
        (format!("{error:#}"), error.downcast_ref::<Failed>().unwrap().again())
    }

    #[test]
    fn the_third_failure_of_a_job_in_one_epoch_is_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let job = Some("7_1");
        assert!(fail(folder.path(), job, 1).1);
        assert!(fail(folder.path(), job, 2).1);
        let (message, again) = fail(folder.path(), job, 1);
        assert!(again);
        assert_eq!(message, "be/seed-1 failed in epoch 2, failure 2 of 3 there: the loss is NaN");
        assert!(!fail(folder.path(), job, 1).1);
        let error = open(folder.path(), job).begin(after(1), 0).unwrap_err();
        assert!(!error.downcast_ref::<Failed>().unwrap().again());
        assert!(format!("{error:#}").ends_with("failure 3 of 3 there: the loss is NaN"), "{error:#}");
        // Another job begins to count anew, and a run by hand is never refused.
        assert!(fail(folder.path(), Some("8_1"), 1).1);
        assert_eq!(
            fail(folder.path(), None, 1),
            ("be/seed-1 failed in epoch 2: the loss is NaN".to_owned(), false)
        );
        assert_eq!(open(folder.path(), None).last().unwrap().failure.as_deref(), Some("the loss is NaN"));
    }

    /// What was noted is over once the run begins again, whoever begins it.
    #[test]
    fn a_run_that_begins_again_has_not_failed() {
        let folder = tempfile::tempdir().unwrap();
        let last = || open(folder.path(), None).last().unwrap().failure.clone();
        for job in [None, Some("7")] {
            open(folder.path(), job).never_began(&anyhow!("no such device"));
            assert_eq!(last().as_deref(), Some("no such device"));
            open(folder.path(), job).begin(Moment::Before, 0).unwrap();
            assert_eq!(last(), None, "{job:?}");
        }
    }

    /// No run has an epoch after its last.
    #[test]
    fn failures_are_told_by_their_moment() {
        let told = |moment| {
            let folder = tempfile::tempdir().unwrap();
            format!("{:#}", open(folder.path(), None).end(moment, anyhow!("why")))
        };
        assert_eq!(told(Moment::Before), "be/seed-1 failed before its first step: why");
        assert_eq!(told(after(4)), "be/seed-1 failed in epoch 5: why");
        assert_eq!(told(after(5)), "be/seed-1 failed after its last epoch: why");
    }

    #[test]
    fn silence_counts_where_no_checkpoint_was_left() {
        let folder = tempfile::tempdir().unwrap();
        let job = Some("7");
        let begin = |epochs, steps| open(folder.path(), job).begin(after(epochs), steps);
        for (epochs, steps) in [(0, 0), (0, 0), (0, 10), (0, 20), (0, 20)] {
            begin(epochs, steps).unwrap();
        }
        // Two of the five left nothing, one at (0, 0) and one at (0, 20), and now the last one there too.
        let error = begin(0, 20).unwrap_err();
        assert!(format!("{error:#}").contains("ended without a word"), "{error:#}");
        begin(1, 0).unwrap();
    }

    #[test]
    fn signals_and_other_processes_are_no_failures() {
        let folder = tempfile::tempdir().unwrap();
        let mut attempts = open(folder.path(), Some("7"));
        attempts.begin(after(0), 0).unwrap();
        let error = attempts.end(after(0), claims::Error::TakenOver { dir: PathBuf::from("x") }.into());
        assert!(error.is::<claims::Error>() && !error.is::<Failed>());
        assert_eq!(open(folder.path(), Some("7")).last().unwrap().failure, None);
    }

    /// A claim that cannot be read is counted. Where nothing can be written, not even that, no attempt would be the last.
    #[test]
    fn disks_that_fail_are_not_tried_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let unreadable = || {
            let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
            claims::Error::Io { dir: PathBuf::from("x"), source }
        };
        for count in 1..=3 {
            let mut attempts = open(folder.path(), Some("7"));
            attempts.begin(after(0), 0).unwrap();
            let error = attempts.end(after(0), unreadable().into());
            assert_eq!(error.downcast_ref::<Failed>().unwrap().again(), count < 3, "{count}");
        }
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let mut attempts = open(&file.join("no folder"), Some("7"));
        attempts.begin(after(0), 0).unwrap();
        let error = attempts.end(after(0), unreadable().into());
        assert!(!error.downcast_ref::<Failed>().unwrap().again());
        assert!(format!("{error:#}").starts_with("be/seed-1 failed in epoch 1: cannot claim x"), "{error:#}");
    }
}
