//! The plan as text.

use std::fmt::Write as _;

use super::{Estimate, Plan, Row, method, recipe};
use crate::config::Resolved;
use crate::model;

/// One line a row: runs, effective batch, batch-norm groups, epochs and steps of a run; time of a step and an epoch; operations and time
/// of the missing runs.
pub(super) fn describe(
    plan: &Plan,
    resolved: &Resolved,
    device: &str,
    estimate: Option<&Estimate>,
) -> anyhow::Result<String> {
    let config = &resolved.config;
    let data = &config.data;
    let plain = model::spec(config)?;
    let missing = plan.missing().count();
    let mut text = String::new();
    writeln!(
        text,
        "plan {}: {} runs, {} finished, {missing} to train, in {}",
        resolved.folder(),
        plan.runs.len(),
        plan.runs.len() - missing,
        plan.folder.display()
    )?;
    writeln!(
        text,
        "data {}: {} train, {} validation, {} test images of {size}x{size}",
        data.dataset,
        data.train_rows,
        data.val_rows,
        data.test_rows,
        size = data.image
    )?;
    writeln!(text, "network {}, M = {}", config.network, config.members)?;
    writeln!(text, "device {device}; {} threads", rayon::current_num_threads())?;

    let header = [
        "row",
        "runs",
        "finished",
        "batch",
        "bn groups",
        "epochs",
        "steps",
        "a step",
        "an epoch",
        "flop",
        "time",
    ];
    let mut lines = vec![header.map(str::to_owned)];
    let (mut all_seconds, mut all_operations) = (0.0, 0.0);
    let (mut timed, mut given) = (false, false);
    for (label, row) in rows(plan) {
        let of_row = |run: &&super::Run| run.row.method() == row.method();
        let runs = plan.runs.iter().filter(of_row).count();
        let missing = plan.missing().filter(of_row).count();
        let method = method(config, row.method())?;
        let recipe = recipe(config, row.method(), method.as_ref());
        let members = method.student(&plain, config.members).members.unwrap_or(1);
        let batch = match members {
            1 => recipe.batch.to_string(),
            m => format!("{} x {m}", recipe.batch),
        };
        let steps = recipe.epochs * recipe.steps(data.train_rows);
        let step = estimate.and_then(|estimate| estimate.step(row.method()));
        let seconds = step.map(|step| step.seconds * (steps * missing) as f64);
        let images = (recipe.epochs * data.train_rows * missing) as f64;
        let operations = step.and_then(|step| Some(step.operations? * images));
        all_seconds += seconds.unwrap_or_default();
        all_operations += operations.unwrap_or_default();
        if let Some(step) = step {
            // Operations are counted where a step is timed.
            (timed, given) = (timed || step.operations.is_some(), given || step.operations.is_none());
        }
        lines.push([
            label,
            runs.to_string(),
            (runs - missing).to_string(),
            batch,
            config.bn_groups.to_string(),
            recipe.epochs.to_string(),
            steps.to_string(),
            step.map_or_else(String::new, |step| format!("{:.3} s", step.seconds)),
            step.map_or_else(String::new, |step| {
                duration(step.seconds * recipe.steps(data.train_rows) as f64)
            }),
            operations.map_or_else(String::new, |operations| format!("{operations:.1e}")),
            seconds.map_or_else(String::new, duration),
        ]);
    }
    align(&mut text, &lines);
    if missing > 0 && estimate.is_some() {
        let counted = match all_operations {
            0.0 => String::new(),
            all => format!("{all:.1e} floating-point operations, "),
        };
        let how = match (timed, given) {
            (false, true) => "by the times of steps that were given",
            (true, true) => "a few steps of each kind were timed, or their time was given",
            _ => "a few steps of each kind were timed",
        };
        writeln!(text, "estimated cost: {counted}{} ({how}; validation not counted)", duration(all_seconds))?;
    }
    Ok(text)
}

/// The rows of the first seed, its teachers as one: label and one of the rows.
fn rows(plan: &Plan) -> Vec<(String, &Row)> {
    let first = plan.runs.first().map(|run| run.seed);
    let rows: Vec<&Row> =
        plan.runs.iter().filter(|run| Some(run.seed) == first).map(|run| &run.row).collect();
    let teachers = rows.iter().filter(|row| matches!(row, Row::Teacher(_))).count();
    let label = |row: &Row| match row {
        Row::Teacher(1) if teachers > 1 => Some(format!("teacher-1..{teachers}")),
        Row::Teacher(j) if *j > 1 => None,
        row => Some(row.to_string()),
    };
    rows.into_iter().filter_map(|row| Some((label(row)?, row))).collect()
}

/// Appends the cells in columns: the first to the left, the others to the right.
fn align<const N: usize>(text: &mut String, lines: &[[String; N]]) {
    let widths: [usize; N] =
        std::array::from_fn(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0));
    for line in lines {
        let mut out = format!("  {:<width$}", line[0], width = widths[0]);
        for (cell, width) in line.iter().zip(widths).skip(1) {
            out.push_str(&format!("  {cell:>width$}"));
        }
        text.push_str(out.trim_end());
        text.push('\n');
    }
}

/// Seconds for people: `4 s`, `12 min`, `3.4 h`, `2.1 days`.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6_000.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3_600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}
