//! `divkd status`: a line a run, from the folder of the records alone, and from Slurm's queue where there is one.

use serde_json::json;

use crate::cli;
use crate::output::outln;
use crate::plan::duration;
use crate::slurm::ledger;
use crate::slurm::queue::Queue;
use crate::status::{self, Experiment, State};

/// Prints the runs of every experiment under the folder, and how long it will take until they are done.
///
/// # Errors
/// Where the folder holds no experiment or cannot be read. A queue that does not answer is only said so.
pub fn run(args: &cli::Status) -> anyhow::Result<()> {
    for folder in status::folders(&args.dir)? {
        let queue = Queue::ask(&ledger::read(&folder)?).unwrap_or_else(|error| {
            eprintln!("from the folder alone: {error}");
            Queue::default()
        });
        let experiment = Experiment::look(&folder, &queue)?;
        if args.json {
            print_json(&experiment)?;
        } else {
            print_table(&experiment)?;
        }
    }
    Ok(())
}

fn print_table(experiment: &Experiment) -> anyhow::Result<()> {
    outln!("{}", experiment.summary())?;
    let wide = experiment.runs.iter().map(|(run, _)| run.to_string().len()).max().unwrap_or(0);
    for (run, state) in &experiment.runs {
        let rest = match state {
            State::Done => String::new(),
            State::Running { place, progress } => {
                let progress = progress.as_ref().map_or_else(
                    || "  begins".to_owned(),
                    |at| {
                        let left = if at.seconds_left > 0.0 {
                            format!("  {:.0} images/s  {} left", at.images_per_s, duration(at.seconds_left))
                        } else {
                            String::new()
                        };
                        format!("  epoch {}/{}{left}", at.epoch(), at.epochs)
                    },
                );
                format!("  {place}{progress}")
            }
            State::Waiting { why } => format!("  {why}"),
            State::Failed { why, log } => {
                let log = log.as_ref().map(|log| format!("; log {}", log.display())).unwrap_or_default();
                format!("  {why}{log}")
            }
        };
        outln!("{}", format!("  {:<wide$}  {:<7}{rest}", run.to_string(), state.name()).trim_end())?;
    }
    Ok(())
}

fn print_json(experiment: &Experiment) -> anyhow::Result<()> {
    for (run, state) in &experiment.runs {
        let mut line = json!({
            "experiment": experiment.name, "row": run.row.to_string(), "seed": run.seed, "state": state.name(),
        });
        let more = match state {
            State::Done => json!({}),
            State::Running { place, progress } => json!({
                "place": place,
                "epoch": progress.as_ref().map(|at| at.epoch()),
                "epochs": progress.as_ref().map(|at| at.epochs),
                "images_per_s": progress.as_ref().map(|at| at.images_per_s),
                "seconds_left": progress.as_ref().map(|at| at.seconds_left),
            }),
            State::Waiting { why } => json!({ "why": why }),
            State::Failed { why, log } => json!({ "why": why, "log": log }),
        };
        if let (Some(line), serde_json::Value::Object(more)) = (line.as_object_mut(), more) {
            line.extend(more);
        }
        outln!("{line}")?;
    }
    Ok(())
}
