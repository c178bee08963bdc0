//! `divkd plan`: how long an experiment takes on how many devices, before anything is asked of a cluster.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::Device;
use nn::Network;

use super::finished::Expected;
use crate::config::Config;
use crate::output::{out, outln};
use crate::plan::loss::Failures;
use crate::plan::schedule::{Job, Schedule, critical_path, schedule};
use crate::plan::{Estimate, Plan, Run, duration};
use crate::train::micro_batch;
use crate::train::saver::CHECKPOINT_EVERY;
use crate::{cli, loading, model};

/// Bytes of a checkpoint that are taken to be written in a second.
const WRITTEN: f64 = 200e6;

/// The missing runs as jobs, with and without failures.
struct Jobs<'a> {
    plan: &'a Plan,
    quiet: Vec<Job>,
    failing: Vec<Job>,
    /// The time between checkpoints of the longest run.
    interval: f64,
}

/// Prints the schedule on each number of devices.
///
/// # Errors
/// Names and settings that are wrong; records of other settings; a step that fails.
pub fn run(args: &cli::Plan) -> anyhow::Result<()> {
    let resolved = args.planned.resolve()?;
    let plan = Plan::new(&resolved, &args.planned.out)?;
    Expected::new(&plan, &resolved, &args.planned.compute.precision)?.folder(None)?;
    let resolved = loading::planned(&resolved, args.planned.data_dir.as_deref())?;
    let config = &resolved.config;
    let needed: BTreeSet<&str> = plan.missing().map(|run| run.row.method()).collect();
    let steps: BTreeMap<String, f64> = args.step.iter().cloned().collect();
    for name in steps.keys() {
        crate::plan::method(config, name)?;
    }
    let (estimate, source) = if needed.iter().all(|name| steps.contains_key(*name)) {
        (Estimate::given(steps, config)?, "given".to_owned())
    } else {
        micro_batch::check(args.planned.compute.most_images(), config, &plan)?;
        let chosen = args.planned.compute.choose()?;
        let mut estimate = plan.estimate(config, &chosen)?;
        estimate.replace(Estimate::given(steps, config)?);
        (estimate, format!("timed on {}", chosen.reason))
    };
    out!("{}", plan.describe(&resolved, &format!("steps {source}"), Some(&estimate))?)?;
    if plan.missing().next().is_none() {
        return Ok(());
    }
    let failures = Failures {
        mtbf: args.mtbf.map_or(f64::INFINITY, |mtbf| mtbf.as_secs_f64()),
        checkpoint: match args.checkpoint {
            Some(time) => time.as_secs_f64(),
            None => checkpoint_bytes(config)? / WRITTEN,
        },
        restart: args.restart.as_secs_f64(),
    };
    let jobs = jobs(&plan, config, &estimate, failures)?;
    print_schedules(&jobs, &args.devices.0, failures.mtbf.is_finite())?;
    if failures.mtbf.is_finite() {
        print_failures(&jobs, failures)?;
    }
    Ok(())
}

/// The size of a plain network's checkpoint: parameters now and at the best epoch, and their momentum. The fast weights of
/// a BatchEnsemble add little.
fn checkpoint_bytes(config: &Config) -> anyhow::Result<f64> {
    let network = Network::new(&model::spec(config)?, 0, &Device::Cpu)?;
    let values: usize = network.state()?.iter().map(|tensor| tensor.values.len()).sum();
    Ok((3 * size_of::<f32>() * values) as f64)
}

fn jobs<'a>(
    plan: &'a Plan,
    config: &Config,
    estimate: &Estimate,
    failures: Failures,
) -> anyhow::Result<Jobs<'a>> {
    let never = Failures { mtbf: f64::INFINITY, ..failures };
    let of = |run: &Run| -> anyhow::Result<(f64, f64)> {
        let (work, epoch) = estimate.run_seconds(config, run.row.method())?.unwrap_or_default();
        Ok((work, epoch.min(CHECKPOINT_EVERY.as_secs_f64())))
    };
    let expected = |failures: Failures| {
        plan.jobs(|run| of(run).map(|(work, interval)| failures.expected(work, interval)))
    };
    let mut longest = (0.0, 0.0);
    for run in plan.missing() {
        let (work, interval) = of(run)?;
        if work > longest.0 {
            longest = (work, interval);
        }
    }
    Ok(Jobs { plan, quiet: expected(never)?, failing: expected(failures)?, interval: longest.1 })
}

impl Jobs<'_> {
    /// `teacher-1/seed-1, be-kd/seed-1`.
    fn named(&self, chain: &[usize]) -> String {
        let names: Vec<String> = chain
            .iter()
            .filter_map(|index| self.plan.missing().nth(*index))
            .map(ToString::to_string)
            .collect();
        match &names[..] {
            [first, .., last] if names.len() > 3 => format!("{first}, {} more, {last}", names.len() - 2),
            _ => names.join(", "),
        }
    }
}

fn print_schedules(jobs: &Jobs<'_>, devices: &[usize], fails: bool) -> anyhow::Result<()> {
    let work: f64 = jobs.quiet.iter().map(|job| job.seconds).sum();
    let path = critical_path(&jobs.quiet);
    let longest: f64 = path.iter().map(|index| jobs.quiet[*index].seconds).sum();
    outln!(
        "\n{:.1} device hours; no number of devices takes less than {}: {}",
        work / 3600.0,
        duration(longest),
        jobs.named(&path)
    )?;
    let failing = if fails { "  with failures" } else { "" };
    outln!("\ndevices     length  in use{failing}  ends with")?;
    for &devices in devices {
        let Schedule { makespan, chain } = schedule(&jobs.quiet, devices);
        let failing = if fails {
            format!("  {:>13}", duration(schedule(&jobs.failing, devices).makespan))
        } else {
            String::new()
        };
        let used = if makespan > 0.0 { 100.0 * work / makespan / devices as f64 } else { 0.0 };
        let bound = if makespan <= longest * (1.0 + 1e-9) {
            " (the longest way: more devices gain nothing)"
        } else {
            ""
        };
        let last = chain.last().map(|last| jobs.named(&[*last])).unwrap_or_default();
        outln!("{devices:>7}  {:>9}  {used:>5.0}%{failing}  {last}{bound}", duration(makespan))?;
    }
    Ok(())
}

fn print_failures(jobs: &Jobs<'_>, failures: Failures) -> anyhow::Result<()> {
    let sum = |jobs: &[Job]| jobs.iter().map(|job| job.seconds).sum::<f64>();
    let (quiet, failing) = (sum(&jobs.quiet), sum(&jobs.failing));
    outln!(
        "\nfailures: one in {} of a device; {:.2} device hours ({:.2}%) are lost to them on average, with a checkpoint every \
         {} that takes {:.2} s, and {} from a failure until the run works again. Least is lost with one every {}.",
        duration(failures.mtbf),
        (failing - quiet) / 3600.0,
        100.0 * (failing / quiet - 1.0),
        duration(jobs.interval),
        failures.checkpoint,
        duration(failures.restart),
        duration(failures.best_interval())
    )
}
