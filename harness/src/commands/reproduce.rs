//! `divkd reproduce`: plans an experiment, trains what is missing, stores what the figures need of it, prints the
//! teachers' diversity and the table, and writes the report beside the records.

use anyhow::{Context, bail};
use results::record::DataInfo;
use results::table::{Format, Table};

use super::report;
use crate::analyze::{self, train_kld};
use crate::cli::Reproduce;
use crate::config::{self, Resolved};
use crate::experiments::Experiment;
use crate::plan::{Plan, Row, Run, run_dir};
use crate::train::run::Session;
use crate::train::{record, shared};
use crate::{device, interrupt, loading};

/// Runs the command. The line `train-kld` and the table go to standard output, all else to standard error.
///
/// # Errors
/// Names and settings that are wrong, records of other settings in the way, and whatever stops a run.
pub fn run(args: &Reproduce) -> anyhow::Result<()> {
    if let Some(limit) = &args.time_limit {
        interrupt::limit(limit);
    }
    let experiment = Experiment::find(&args.experiment)?;
    let resolved = config::resolve(&experiment, args.preset.as_deref(), &args.overrides())?;
    let chosen = device::choose(&args.device)?;
    let plan = Plan::new(&resolved, &args.out)?;
    check_finished(&plan, &resolved, None)?;
    let estimate = plan.estimate(&resolved.config, &chosen.device)?;
    let description = plan.describe(&resolved, &chosen.reason, Some(&estimate))?;
    if args.dry_run {
        print!("{description}");
        return Ok(());
    }
    eprint!("{description}");

    let seeds = seeds_with_teachers(&plan);
    let members = resolved.config.members;
    if plan.missing().next().is_some() || !analyze::missing(&plan, members)?.is_empty() {
        let splits = loading::splits(&resolved.config.data, args.data_dir.as_deref())?;
        let data = record::data(&splits);
        check_finished(&plan, &resolved, Some(&data))?;
        let command = std::env::args().collect::<Vec<_>>().join(" ");
        let session = Session {
            resolved: &resolved,
            out: &args.out,
            splits: &splits,
            device: &chosen,
            command: &command,
        };
        interrupt::catch().context("cannot handle signals")?;
        shared::train(&session, &plan, |run| check_run(&plan, run, &resolved, Some(&data)))?;
        analyze::store(&session, &analyze::missing(&plan, members)?)?;
    }
    let lacking = analyze::without_models(&plan, members);
    if lacking > 0 {
        eprintln!(
            "{lacking} analyses are missing, whose records have no weights: the figures will lack them"
        );
    }
    let by_seed = train_kld::stored(&plan.folder, seeds.iter().copied())?;
    if let Some(line) = train_kld::line(&by_seed).filter(|_| by_seed.len() == seeds.len()) {
        println!("{line}");
    }
    print!("{}", Table::build(&plan.folder)?.render(Format::Term));
    let page = plan.folder.join(report::FILE);
    report::write_page(&plan.folder, &page)?;
    eprintln!("wrote {}", page.display());
    Ok(())
}

/// The seeds that train at least two teachers: one has no diversity.
fn seeds_with_teachers(plan: &Plan) -> Vec<u64> {
    plan.runs.iter().filter(|run| run.row == Row::Teacher(2)).map(|run| run.seed).collect()
}

/// Finished runs must be of the same settings, and of the same data where those are loaded: a table never mixes two.
fn check_finished(plan: &Plan, resolved: &Resolved, data: Option<&DataInfo>) -> anyhow::Result<()> {
    plan.runs.iter().filter(|run| run.finished).try_for_each(|run| check_run(plan, run, resolved, data))
}

fn check_run(plan: &Plan, run: &Run, resolved: &Resolved, data: Option<&DataInfo>) -> anyhow::Result<()> {
    let dir = run_dir(&plan.folder, &run.row, run.seed);
    let was = record::read_info(&dir)?;
    let differences = config::differences(
        &record::inputs(&was.config, &was.data, run),
        &record::inputs(&resolved.table()?, data.unwrap_or(&was.data), run),
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
