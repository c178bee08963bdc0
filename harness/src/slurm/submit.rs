//! Submits what is missing of a plan and nobody works on. One process at a time, by a claim on the folder; started again it
//! finds what it, or another, submitted before.

use std::collections::BTreeSet;
use std::env::VarError;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::arrays::{Array, Stage, arrays};
use super::call::{call, max_array_size};
use super::ledger::{self, Job, Submission};
use super::options::Options;
use super::queue::Queue;
use super::script::{self, Common};
use crate::cli::Planned;
use crate::config::{self, Resolved};
use crate::plan::{Plan, Run, is_finished};
use crate::train::{run, shared};

/// A command's wishes.
pub struct Request<'a> {
    /// The experiment as the command line has it.
    pub planned: &'a Planned,
    /// Its settings.
    pub resolved: &'a Resolved,
    /// CPU threads of a run, where they were asked for.
    pub threads: Option<u16>,
    /// What to ask of Slurm.
    pub options: Options,
    /// Runs a job.
    pub runs_per_job: usize,
}

/// Scripts before they are submitted: their names without ending, their texts, the arrays that they train.
struct Prepared {
    dir: PathBuf,
    scripts: Vec<(String, String, Option<Array>)>,
    names: Vec<String>,
}

/// Submits; says on standard error what became of it. `unevaluated` says that results are to be made even if nothing is
/// missing.
///
/// # Errors
/// Where Slurm is missing or refuses, with its message; where the folder cannot be written.
pub fn submit(request: &Request<'_>, plan: &Plan, unevaluated: bool) -> anyhow::Result<()> {
    let folder = absolute(&plan.folder)?;
    let claim = shared::wait(&folder.join(".tmp-claim-submit"))?;
    let queue = take_stock(&folder)?;
    let missing: Vec<&Run> =
        plan.missing().filter(|run| !is_finished(&plan.folder, &run.row, run.seed)).collect();
    let waiting: Vec<&Run> = missing
        .iter()
        .filter(|run| !queue.runs.contains_key(&run.to_string()) && !is_trained(&folder, run))
        .copied()
        .collect();
    let config = request.resolved.table()?;
    refuse_others(&config, &folder, &missing, &queue)?;
    let elsewhere = missing.len() - waiting.len();
    if elsewhere > 0 {
        eprintln!("{elsewhere} runs are in the queue or in training already");
    }
    let evaluates = !waiting.is_empty() || (unevaluated && queue.evaluations.is_empty());
    if !evaluates {
        eprintln!("nothing to submit");
        return Ok(());
    }

    let mut submission = Submission::begin(&folder, config)?;
    let prepared = prepare(request, &folder, &waiting, &submission)?;
    let whole = |job: &str| job.split('_').next().unwrap_or(job).to_owned();
    let mut evaluated: Vec<String> = queue.runs.values().map(|queued| whole(&queued.job)).collect();
    for ((stem, text, array), name) in prepared.scripts.iter().zip(&prepared.names) {
        claim.verify()?;
        let path = prepared.dir.join(format!("{stem}.sbatch"));
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        let dependency = match array {
            Some(array) => needed(array, &submission, &queue),
            None => after("afterany", &evaluated),
        };
        let tasks = array.iter().flat_map(|array| &array.tasks);
        let tasks = tasks.map(|task| task.iter().map(ToString::to_string).collect()).collect();
        let job = Job { name: name.clone(), script: format!("{stem}.sbatch"), id: None, dependency, tasks };
        let mut words = vec!["--parsable".to_owned()];
        if !job.dependency.is_empty() {
            words.push(format!("--dependency={}", job.dependency));
        }
        words.push(path.display().to_string());
        submission.jobs.push(job);
        submission.write()?;
        let answer = call("sbatch", &words).with_context(|| {
            format!(
                "{} of {} jobs submitted; start the same command again for the rest",
                submission.jobs.len() - 1,
                prepared.scripts.len()
            )
        })?;
        let number = answer.trim().split(';').next().unwrap_or_default();
        let Ok(id) = number.parse() else {
            bail!("sbatch --parsable: expected a job's number, found `{answer}`")
        };
        if let Some(job) = submission.jobs.last_mut() {
            job.id = Some(id);
        }
        submission.write()?;
        evaluated.push(id.to_string());
        let jobs = array.as_ref().map_or_else(
            || "evaluates".to_owned(),
            |array| format!("{} runs in {} tasks", array.runs().count(), array.tasks.len()),
        );
        eprintln!("job {id}: {stem}, {jobs}");
    }
    Ok(())
}

/// Refuses to wait for jobs in the queue that would train one of `missing` with other settings than `config`.
fn refuse_others(config: &toml::Table, folder: &Path, missing: &[&Run], queue: &Queue) -> anyhow::Result<()> {
    for submission in ledger::read(folder)?.iter().filter(|submission| !submission.config.is_empty()) {
        for run in missing {
            let name = run.to_string();
            let Some(queued) = queue.runs.get(&name) else { continue };
            let number = queued.job.split('_').next().and_then(|number| number.parse().ok());
            let is_of = |job: &&Job| job.id == number && job.tasks.iter().flatten().any(|task| *task == name);
            if submission.jobs.iter().find(is_of).is_none() {
                continue;
            }
            let [was, is] = [&submission.config, config].map(|config| config::relevant(config, &run.row));
            let differences = config::differences(&was, &is);
            ensure!(
                differences.is_empty(),
                "{run} is in the queue with other settings (job {}): end it with `divkd cancel {}`, or name another --out:\n  {}",
                queued.job,
                folder.display(),
                differences.join("\n  ")
            );
        }
    }
    Ok(())
}

/// The scripts that [`submit`] would submit were nothing in the queue, as text.
///
/// # Errors
/// Where the program or the folder has no absolute path.
pub fn describe(request: &Request<'_>, plan: &Plan) -> anyhow::Result<String> {
    let folder = absolute(&plan.folder)?;
    let missing: Vec<&Run> = plan.missing().collect();
    let submission = Submission { dir: folder.join(".slurm/1"), ..Submission::default() };
    let prepared = prepare(request, &folder, &missing, &submission)?;
    let mut text = String::new();
    for (stem, script, array) in &prepared.scripts {
        let after = match array {
            Some(Array { stage: Stage::Students, seed, .. }) => {
                format!(", afterok of its teachers in teachers-seed-{seed}")
            }
            Some(_) => String::new(),
            None => ", afterany of all".to_owned(),
        };
        text.push_str(&format!("\n# {stem}.sbatch{after}\n{script}"));
    }
    Ok(text)
}

/// Completes the ledger where a submission was cut off, and says what is in the queue.
///
/// # Errors
/// Where Slurm is missing or does not answer; where the ledger cannot be read or written.
pub fn take_stock(folder: &Path) -> anyhow::Result<Queue> {
    let mut submissions = ledger::read(folder)?;
    let queue = Queue::ask(&submissions)?;
    for submission in &mut submissions {
        let mut found = false;
        for job in submission.jobs.iter_mut().filter(|job| job.id.is_none()) {
            job.id = queue.ids.get(&job.name).copied();
            found |= job.id.is_some();
        }
        if found {
            submission.write()?;
        }
    }
    Ok(queue)
}

/// Whether a living process has the run.
fn is_trained(folder: &Path, run: &Run) -> bool {
    let holder = claims::holder(&run::claim_dir(folder, run)).ok().flatten();
    holder.is_some_and(|holder| holder.is_alive())
}

/// The tasks that the runs of `array` need, in the queue or just submitted; of a job that trains nothing else, its number.
fn needed(array: &Array, submission: &Submission, queue: &Queue) -> String {
    let needs: BTreeSet<String> = array
        .runs()
        .flat_map(|run| run.needs.iter().map(move |row| format!("{row}/seed-{}", run.seed)))
        .collect();
    let is_needed = |task: &Vec<String>| task.iter().any(|run| needs.contains(run));
    let mut jobs: Vec<String> = Vec::new();
    for job in &submission.jobs {
        let Some(id) = job.id else { continue };
        let tasks: Vec<usize> = (0..job.tasks.len()).filter(|&task| is_needed(&job.tasks[task])).collect();
        match tasks.len() {
            0 => {}
            all if all == job.tasks.len() => jobs.push(id.to_string()),
            _ => jobs.extend(tasks.iter().map(|task| format!("{id}_{task}"))),
        }
    }
    jobs.extend(needs.iter().filter_map(|need| Some(queue.runs.get(need)?.job.clone())));
    after("afterok", &jobs)
}

/// `afterok:1:2`; nothing where there are no jobs.
fn after(kind: &str, jobs: &[String]) -> String {
    let mut seen: Vec<&str> = Vec::new();
    for job in jobs {
        if !seen.contains(&job.as_str()) {
            seen.push(job);
        }
    }
    if seen.is_empty() { String::new() } else { format!("{kind}:{}", seen.join(":")) }
}

fn prepare(
    request: &Request<'_>,
    folder: &Path,
    runs: &[&Run],
    submission: &Submission,
) -> anyhow::Result<Prepared> {
    let program = std::env::current_exe().context("cannot find this program's own path")?;
    let chdir = std::env::current_dir().context("cannot find the current folder")?;
    let data = request.planned.data_dir.iter();
    for path in [&program, &chdir, &folder.to_path_buf()].into_iter().chain(data) {
        ensure!(path.to_str().is_some(), "{}: a job's script is text in UTF-8; rename it", path.display());
    }
    for path in [&program, &chdir, &folder.to_path_buf()] {
        let text = path.to_string_lossy();
        if text.contains(char::is_whitespace) || text.contains('%') {
            bail!("{text}: Slurm's options take no path with white space or %; move it");
        }
    }
    let mut planned = request.planned.options();
    planned.extend(request.threads.into_iter().flat_map(|n| ["--threads".to_owned(), n.to_string()]));
    let mut exports = vec![("HF_HUB_OFFLINE".to_owned(), "1".to_owned())];
    for name in ["HF_HOME", "HF_HUB_CACHE"] {
        match std::env::var(name) {
            Ok(value) => exports.push((name.to_owned(), value)),
            Err(VarError::NotPresent) => {}
            Err(error) => bail!("{name}: {error}; a job's script is text in UTF-8"),
        }
    }
    let common = Common {
        options: &request.options,
        chdir: &chdir,
        program: &program,
        experiment: &request.planned.experiment,
        planned: &planned,
        exports: &exports,
    };
    let dir = submission.dir.clone();
    let (mut scripts, mut names) = (Vec::new(), Vec::new());
    for array in arrays(runs, request.runs_per_job, max_array_size()) {
        let (stem, rows) =
            (array.name(), |task: &Vec<Run>| task.iter().map(|run| run.row.to_string()).collect());
        let (name, log) = (submission.job_name(&stem), dir.join(format!("{stem}.%a.log")));
        let rows: Vec<Vec<String>> = array.tasks.iter().map(rows).collect();
        scripts.push((stem, script::array(&common, &name, &log, array.seed, &rows), Some(array)));
        names.push(name);
    }
    let stem = "evaluate".to_owned();
    let (name, log) = (submission.job_name(&stem), dir.join("evaluate.log"));
    scripts.push((stem, script::evaluation(&common, &name, &log), None));
    names.push(name);
    Ok(Prepared { dir, scripts, names })
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} has no absolute path", path.display()))
}
