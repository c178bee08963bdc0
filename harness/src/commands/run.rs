//! `divkd run`: one run of an experiment, as a job of a scheduler runs it.

use anyhow::{Context, bail};

use super::finished::Expected;
use crate::cli::{self, Planned};
use crate::config::Resolved;
use crate::plan::{Plan, Run, is_finished};
use crate::train::attempts::Attempts;
use crate::train::run::{Session, checkpoint_dir, claim_dir};
use crate::train::{micro_batch, record, shared};
use crate::{interrupt, loading, shell};

/// A run needs others that somebody trains at this moment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{run} needs {needs}, in training now: start it again when that is finished")]
pub struct Waits {
    run: String,
    needs: String,
}

/// Trains the run from its beginning or its last checkpoint; does nothing where it is finished.
///
/// # Errors
/// Names and settings that are wrong, a teacher that is missing, and whatever stops a run.
pub fn run(args: &cli::Run) -> anyhow::Result<()> {
    if let Some(limit) = &args.time_limit {
        interrupt::limit(limit);
    }
    let planned = &args.planned;
    let resolved = planned.resolve()?;
    let plan = Plan::of_one(&resolved, &planned.out, &args.row, u64::from(args.seed))?;
    let expected = Expected::new(&plan, &resolved, &planned.compute.precision)?;
    let Some(run) = plan.missing().next() else {
        plan.runs.iter().try_for_each(|run| expected.run(run, None))?;
        shared::tidy(&plan);
        eprintln!("{}/seed-{} is finished", args.row, args.seed);
        return Ok(());
    };
    train(args, &plan, run, (&resolved, &expected)).inspect_err(|error| {
        // A wrong option is the command's fault, not the run's.
        if !error.is::<Waits>() && crate::exit_code(error) != crate::EXIT_USAGE {
            let dir = checkpoint_dir(&plan.folder, run);
            Attempts::open(&dir, run.to_string(), claims::job()).never_began(error);
        }
    })
}

/// Trains `run`, the only one of `plan`.
fn train(
    args: &cli::Run,
    plan: &Plan,
    run: &Run,
    (resolved, expected): (&Resolved, &Expected<'_>),
) -> anyhow::Result<()> {
    let planned = &args.planned;
    check_needs(planned, plan, run)?;
    expected.folder(None)?;
    micro_batch::check(planned.compute.most_images(), &resolved.config, plan)?;
    let chosen = planned.compute.choose()?;
    let splits = loading::splits(&resolved.config.data, planned.data_dir.as_deref())?;
    let data = record::data(&splits);
    expected.folder(Some(&data))?;
    let command = shell::own_command();
    let session =
        Session { resolved, out: &planned.out, splits: &splits, device: &chosen, command: &command };
    interrupt::catch().context("cannot handle signals")?;
    shared::train(&session, plan, |run| expected.run(run, Some(&data)))
}

/// Whether the runs that `run` needs are finished.
fn check_needs(planned: &Planned, plan: &Plan, run: &Run) -> anyhow::Result<()> {
    let mut missing = run.needs.iter().filter(|row| !is_finished(&plan.folder, row, run.seed));
    if let Some(row) = missing.next() {
        let teacher = Run { row: row.clone(), seed: run.seed, needs: Vec::new(), finished: false };
        let holder = claims::holder(&claim_dir(&plan.folder, &teacher))?;
        if holder.is_some_and(|holder| holder.is_alive()) {
            return Err(Waits { run: run.to_string(), needs: teacher.to_string() }.into());
        }
        let others = missing.count();
        let more = if others > 0 { format!(" and {others} more") } else { String::new() };
        let experiment = &planned.experiment;
        let words = [experiment, &row.to_string(), "--seed", &run.seed.to_string()].map(shell::quote);
        let options = planned.options().iter().map(|option| shell::quote(option)).collect::<Vec<_>>();
        bail!(
            "{run} needs {teacher}{more}: not finished in {}; train it first, such as with `divkd run {} {}`",
            plan.folder.display(),
            words.join(" "),
            options.join(" ")
        );
    }
    Ok(())
}
