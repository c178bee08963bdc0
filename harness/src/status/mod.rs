//! What became of a plan's runs, from the folder of their records, and from Slurm's queue where there is one.

mod begun;
mod left;

pub use left::Left;

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use results::record::Record;

use crate::plan::stored::{PLAN, Stored};
use crate::plan::{Run, duration, run_dir};
use crate::progress::Progress;
use crate::slurm::queue::Queue;
use crate::train::attempts::Attempts;
use crate::train::{checkpoint, run};

/// What a run does.
#[derive(Clone, Debug, PartialEq)]
pub enum State {
    /// Its record is there, whole.
    Done,
    /// It is trained.
    Running {
        /// Host and job.
        place: String,
        /// How far it is, once it has begun.
        progress: Option<Progress>,
    },
    /// It will be trained, or nobody has begun it.
    Waiting {
        /// For what.
        why: String,
    },
    /// Its last attempt failed and nobody tries again, or its record has been damaged since.
    Failed {
        /// The error.
        why: String,
        /// Where it is told in full.
        log: Option<PathBuf>,
    },
}

impl State {
    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Running { .. } => "running",
            Self::Waiting { .. } => "waiting",
            Self::Failed { .. } => "failed",
        }
    }
}

/// The runs of one experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// `<experiment>-<preset>`.
    pub name: String,
    /// Its runs, seed by seed, with what they do: those of its plan, and others that were begun.
    pub runs: Vec<(Run, State)>,
    /// How long until all are done if as many go on at once as now; absent where none goes on.
    pub left: Option<Left>,
}

impl Experiment {
    /// Looks at the experiment in `folder`; one that is not there has no runs.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn look(folder: &Path, queue: &Queue) -> anyhow::Result<Self> {
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut runs = Stored::read(folder)?.runs(folder);
        // Nobody plans what `divkd run` trains.
        let begun = if folder.is_dir() { begun::runs(folder)? } else { Vec::new() };
        for run in begun {
            if !runs.iter().any(|known| (&known.row, known.seed) == (&run.row, run.seed)) {
                runs.push(run);
            }
        }
        let runs: Vec<(Run, State)> = runs
            .into_iter()
            .map(|run| {
                let state = state(folder, &run, queue);
                (run, state)
            })
            .collect();
        let left = left::left(folder, &runs);
        Ok(Self { name, runs, left })
    }

    /// Runs of a state.
    pub fn count(&self, state: &str) -> usize {
        self.runs.iter().filter(|(_, at)| at.name() == state).count()
    }

    /// All in one line.
    pub fn summary(&self) -> String {
        let counts = ["done", "running", "waiting", "failed"]
            .map(|state| format!("{} {state}", self.count(state)))
            .join(", ");
        let at_a_time = self.count("running");
        let left = match &self.left {
            None => String::new(),
            Some(Left { seconds: 0.0, .. }) => String::new(),
            Some(Left { seconds, unknown }) if unknown.is_empty() => {
                format!("; about {} left, {at_a_time} at a time", duration(*seconds))
            }
            Some(Left { seconds, unknown }) => format!(
                "; about {} left, {at_a_time} at a time, without {}, of which no run has begun",
                duration(*seconds),
                unknown.join(", ")
            ),
        };
        format!("{}: {} runs: {counts}{left}", self.name, self.runs.len())
    }
}

fn state(folder: &Path, run: &Run, queue: &Queue) -> State {
    if run.finished {
        return match Record::open(&run_dir(folder, &run.row, run.seed)) {
            Ok(_) => State::Done,
            Err(error) => State::Failed { why: error.to_string(), log: None },
        };
    }
    let dir = run::checkpoint_dir(folder, run);
    let holder = claims::holder(&run::claim_dir(folder, run)).ok().flatten();
    if let Some(holder) = holder.filter(claims::Holder::is_alive) {
        let place = holder.owner.map_or_else(
            || "another process".to_owned(),
            |owner| match owner.job {
                Some(job) => format!("{} (job {job})", owner.host),
                None => format!("{} (process {})", owner.host, owner.pid),
            },
        );
        return State::Running { place, progress: Progress::read(&dir) };
    }
    if let Some(queued) = queue.runs.get(&run.to_string()) {
        return if queued.runs() {
            State::Running { place: format!("{} (job {})", queued.nodes, queued.job), progress: None }
        } else {
            State::Waiting { why: format!("job {} ({})", queued.job, queued.reason) }
        };
    }
    let attempts = Attempts::open(&dir, run.to_string(), None);
    if let Some((last, why)) = attempts.last().and_then(|last| Some((last, last.failure.clone()?))) {
        return State::Failed { why, log: last.log.clone() };
    }
    let why = match Progress::read(&dir) {
        Some(progress) => {
            format!("stopped in epoch {} of {}: start it again", progress.epoch(), progress.epochs)
        }
        // Such as one that was unpacked here.
        None if checkpoint::newest(&dir).is_ok_and(|newest| newest.is_some()) => {
            "goes on from a checkpoint when it is started again".to_owned()
        }
        None => match queue.gone.get(&run.to_string()) {
            Some(gone) if gone.log.is_file() => {
                let why = format!("job {} ended before the run began", gone.job);
                return State::Failed { why, log: Some(gone.log.clone()) };
            }
            Some(gone) => format!(
                "job {} left the queue before it began (cancelled, or a run that it needs failed): submit it again",
                gone.job
            ),
            None => "nobody has begun it".to_owned(),
        },
    };
    State::Waiting { why }
}

/// The experiments' folders in `dir`, which may be one itself.
///
/// # Errors
/// Where it cannot be read or holds none.
pub fn folders(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let dir = results::record::real(dir)?;
    if is_experiment(&dir) {
        return Ok(vec![dir]);
    }
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() && is_experiment(&path) {
            folders.push(path);
        }
    }
    folders.sort();
    ensure!(
        !folders.is_empty(),
        "{}: no experiment was begun here; name the folder that was --out, or one of its experiments",
        dir.display()
    );
    Ok(folders)
}

/// Whether there is a plan or a run in it.
pub fn is_experiment(folder: &Path) -> bool {
    folder.join(PLAN).is_file() || begun::runs(folder).is_ok_and(|runs| !runs.is_empty())
}
