//! `divkd reproduce`: plans an experiment, has trained what is missing, stores what the figures need of it, prints the
//! teachers' diversity and the table, and writes the report beside the records.

use anyhow::{Context, bail};
use datasets::{LoadOptions, Source};
use results::record::DataInfo;
use results::table::{Format, Table};

use super::finished::Expected;
use super::report;
use super::spread::{Opened, describe};
use super::table;
use crate::analyze::{self, train_kld};
use crate::cli::{Executor, Planned, Reproduce, WrongOptions};
use crate::config::{Config, Resolved};
use crate::device::{self, Chosen};
use crate::output::{out, outln};
use crate::plan::stored::Stored;
use crate::plan::{Plan, Row, Run};
use crate::slurm::ledger;
use crate::slurm::options::Options;
use crate::slurm::queue::Queue;
use crate::slurm::submit::{self, Request};
use crate::slurm::wait;
use crate::status::{Experiment, State};
use crate::train::run::Session;
use crate::train::{micro_batch, record, shared};
use crate::{interrupt, loading, model, shell};

/// Runs the command; `threads` are those that were asked for. The line `train-kld` and the table go to standard output, all
/// else to standard error.
///
/// # Errors
/// Names, settings and options that are wrong, records of other settings in the way, and whatever stops a run.
pub fn run(args: &Reproduce, threads: Option<u16>) -> anyhow::Result<()> {
    if args.executor != Executor::Slurm && (!args.slurm.is_empty() || args.wait || args.runs_per_job > 1) {
        let what = "--slurm, --runs-per-job and --wait belong to --executor slurm";
        return Err(WrongOptions(what.to_owned()).into());
    }
    if args.executor == Executor::Slurm && args.time_limit.is_some() {
        let what = "--time-limit does not reach jobs: Slurm's own limit does, such as --slurm time=04:00:00, and they are \
                    stopped at a checkpoint before it is over";
        return Err(WrongOptions(what.to_owned()).into());
    }
    if args.executor != Executor::Local && !args.spread.is_default() {
        let what = "--devices, --concurrent-runs and --concurrent-teachers belong to --executor local";
        return Err(WrongOptions(what.to_owned()).into());
    }
    device::check_names(&args.spread.devices)?;
    if let Some(limit) = &args.time_limit {
        interrupt::limit(limit);
    }
    let resolved = args.planned.resolve()?;
    let plan = Plan::new(&resolved, &args.planned.out)?;
    let expected = expected(args, &resolved, &plan)?;
    expected.folder(None)?;
    if let Some(note) = expected.other_versions()? {
        eprintln!("{note}");
    }
    match args.executor {
        Executor::Local => train_here(args, &resolved, &plan),
        Executor::Slurm => train_on_slurm(args, threads, &resolved, &plan),
        Executor::None => evaluate(args, &resolved, &plan),
    }
}

/// What the records in the folder of `plan` must be of.
fn expected<'a>(args: &Reproduce, resolved: &Resolved, plan: &'a Plan) -> anyhow::Result<Expected<'a>> {
    Expected::new(plan, resolved, &args.planned.compute.precision)
}

fn train_here(args: &Reproduce, resolved: &Resolved, plan: &Plan) -> anyhow::Result<()> {
    micro_batch::check(args.planned.compute.most_images(), &resolved.config, plan)?;
    let planned = loading::planned(resolved, args.planned.data_dir.as_deref())?;
    let spread = args.spread.spread(&args.planned);
    let chosen = Opened::all(&spread)?;
    if plan.missing().next().is_some() {
        eprintln!("timing a few steps of each kind of run ({})", chosen.reasons);
    }
    let estimate = plan.estimate(&planned.config, &chosen.first)?;
    device::release(&chosen.first.device);
    let mut description = plan.describe(&planned, &chosen.reasons, Some(&estimate))?;
    if !spread.is_single() {
        description += &describe(&spread, &planned, plan, &estimate)?;
    }
    if args.dry_run {
        out!("{description}")?;
        return Ok(());
    }
    eprint!("{description}");
    shared::tidy(plan);
    let config = &resolved.config;
    let expected = expected(args, resolved, plan)?;
    if plan.missing().next().is_some() || !analyze::missing(plan, config)?.is_empty() {
        // One that is damaged is neither replaced nor passed over.
        Stored::read(&plan.folder)?;
        with_session(&args.planned, resolved, &chosen.first, |session, data| {
            expected.folder(Some(data))?;
            interrupt::catch().context("cannot handle signals")?;
            if interrupt::check().is_ok() {
                // Where this cannot be written, nor can records: training says so.
                let _ = Stored::add(plan, resolved);
            }
            let check = |run: &Run| expected.run(run, Some(data));
            match spread.is_single() {
                true => shared::train(session, plan, check)?,
                false => shared::train_together(session, &spread, plan, check)?,
            }
            analyze::store(session, &analyze::missing(plan, config)?)
        })?;
    }
    // Another process may have trained other rows into the folder.
    expected.folder(None)?;
    leave_results(plan, config)
}

fn train_on_slurm(
    args: &Reproduce,
    threads: Option<u16>,
    resolved: &Resolved,
    plan: &Plan,
) -> anyhow::Result<()> {
    if args.planned.compute.device == "cpu" {
        // The one device that is the same everywhere: what it cannot do, no job can.
        args.planned.compute.choose()?;
    }
    micro_batch::check(args.planned.compute.most_images(), &resolved.config, plan)?;
    let request = Request {
        planned: &args.planned,
        resolved,
        threads,
        options: Options::parse(&args.slurm)?,
        runs_per_job: usize::from(args.runs_per_job),
    };
    let description = plan.describe(resolved, &args.planned.compute.device, None)?;
    if args.dry_run {
        out!("{description}{}", submit::describe(&request, plan)?)?;
        return Ok(());
    }
    eprint!("{description}");
    // Compute nodes often have no network: the cache is filled here, once.
    let id = model::dataset(&resolved.config.data.dataset)?;
    if matches!(loading::source(id, args.planned.data_dir.as_deref(), 0), Source::Hub) {
        datasets::fetch(id, &LoadOptions { progress: Some(loading::progress()), ..LoadOptions::default() })?;
    }
    interrupt::catch().context("cannot handle signals")?;
    Stored::add(plan, resolved)?;
    let has_results = analyze::missing(plan, &resolved.config)?.is_empty()
        && table::LEFT.iter().all(|(name, _)| plan.folder.join(name).is_file())
        && plan.folder.join(report::FILE).is_file();
    submit::submit(&request, plan, !has_results)?;
    if !args.wait {
        eprintln!(
            "the jobs go on by themselves: `divkd status {0}` shows them, `divkd cancel {0}` ends them",
            plan.folder.display()
        );
        return Ok(());
    }
    wait::wait(&plan.folder)?;
    let plan = Plan::new(resolved, &args.planned.out)?;
    expected(args, resolved, &plan)?.folder(None)?;
    if plan.runs.iter().any(|run| run.finished) {
        print_results(&plan, &resolved.config, &Table::of_one(&plan.folder)?)?;
    }
    say_what_is_missing(&plan)
}

/// Makes the results of what is finished.
fn evaluate(args: &Reproduce, resolved: &Resolved, plan: &Plan) -> anyhow::Result<()> {
    if args.dry_run {
        out!("{}", plan.describe(resolved, &args.planned.compute.device, None)?)?;
        return Ok(());
    }
    let pieces = analyze::missing(plan, &resolved.config)?;
    if !pieces.is_empty() {
        let chosen = args.planned.compute.choose()?;
        with_session(&args.planned, resolved, &chosen, |session, data| {
            expected(args, resolved, plan)?.folder(Some(data))?;
            interrupt::catch().context("cannot handle signals")?;
            analyze::store(session, &pieces)
        })?;
    }
    if plan.runs.iter().any(|run| run.finished) {
        leave_results(plan, &resolved.config)?;
    }
    say_what_is_missing(plan)
}

/// Loads the data, for work on `device`.
fn with_session(
    planned: &Planned,
    resolved: &Resolved,
    device: &Chosen,
    work: impl FnOnce(&Session<'_>, &DataInfo) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let splits = loading::splits(&resolved.config.data, planned.data_dir.as_deref())?;
    let command = shell::own_command();
    let session = Session { resolved, out: &planned.out, splits: &splits, device, command: &command };
    work(&session, &record::data(&splits))
}

/// Prints the line `train-kld`, where all seeds of the plan that train at least two teachers have it (one has no diversity), and
/// the table.
fn print_results(plan: &Plan, config: &Config, table: &Table) -> anyhow::Result<()> {
    let by_seed = train_kld::of_folder(plan, config)?;
    let has_it = |run: &Run| run.row != Row::Teacher(2) || by_seed.contains_key(&run.seed);
    if let Some(line) = train_kld::line(&by_seed).filter(|_| plan.runs.iter().all(has_it)) {
        outln!("{line}")?;
    }
    out!("{}", table.render(Format::Term))
}

/// Shows the results, and leaves tables and report beside the records, where they cannot be shown too.
fn leave_results(plan: &Plan, config: &Config) -> anyhow::Result<()> {
    let lacking = analyze::without_models(plan, config)?;
    if lacking > 0 {
        eprintln!(
            "{lacking} analyses are missing or of other settings, and their records have no weights: they are not in train-kld, \
             and the report has what is stored of these records"
        );
    }
    let table = Table::of_one(&plan.folder)?;
    let shown = print_results(plan, config, &table);
    eprintln!("wrote {}", report::leave(&plan.folder, &table)?.display());
    shown
}

/// An error that lists the runs of `plan` that are not finished, with the reason of each.
fn say_what_is_missing(plan: &Plan) -> anyhow::Result<()> {
    // Where jobs were submitted, their logs tell more.
    let queue = Queue::ask(&ledger::read(&plan.folder)?).unwrap_or_default();
    let seen = Experiment::look(&plan.folder, &queue)?;
    let mut reasons = Vec::new();
    for run in plan.missing() {
        let state = seen.runs.iter().find(|(seen, _)| (&seen.row, seen.seed) == (&run.row, run.seed));
        reasons.push(match state.map(|(_, state)| state) {
            Some(State::Failed { why, log: Some(log) }) => format!("{run}: {why}; log {}", log.display()),
            Some(State::Failed { why, .. } | State::Waiting { why }) => format!("{run}: {why}"),
            Some(State::Running { place, .. }) => format!("{run}: in training on {place}"),
            Some(State::Done) => continue,
            None => format!("{run}: nobody has begun it"),
        });
    }
    if reasons.is_empty() {
        return Ok(());
    }
    bail!("{} of {} runs are missing:\n  {}", reasons.len(), plan.runs.len(), reasons.join("\n  "))
}
