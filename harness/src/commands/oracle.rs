//! `divkd oracle`: agreement with recorded cases of the official implementation.

use serde_json::json;

use crate::oracle::{self, Outcome};
use crate::output::outln;
use crate::{cli, device};

/// Runs the cases under a folder and prints a line each.
///
/// # Errors
/// Where a case fails, or the folder cannot be read or holds no case.
pub fn run(args: &cli::Oracle) -> anyhow::Result<()> {
    let chosen = device::choose(&args.device, &args.precision)?;
    let outcomes = oracle::run(&args.dir, &chosen.device, chosen.precision)?;
    let width = outcomes.iter().map(|o| o.name.len()).max().unwrap_or(0);
    for outcome in &outcomes {
        if args.json {
            outln!("{}", as_json(outcome))?;
        } else {
            outln!("{}", as_line(outcome, width))?;
        }
    }
    let failed = outcomes.iter().filter(|o| !o.passed()).count();
    if !args.json {
        outln!("{} cases, {} passed, {failed} failed", outcomes.len(), outcomes.len() - failed)?;
    }
    anyhow::ensure!(
        failed == 0,
        "{failed} of {} cases do not agree with {}",
        outcomes.len(),
        args.dir.display()
    );
    Ok(())
}

fn as_line(outcome: &Outcome, width: usize) -> String {
    let start = format!("{:width$}  {:<11}", outcome.name, outcome.kind);
    match &outcome.result {
        Ok(worst) => {
            let verdict = if worst.within() { "pass" } else { "FAIL" };
            format!("{start}  {:.2e}  {:.0e}  {verdict}  {}", worst.error, worst.tolerance, worst.what)
        }
        Err(reason) => format!("{start}  -         -      FAIL  {reason}"),
    }
}

fn as_json(outcome: &Outcome) -> serde_json::Value {
    let (error, tolerance, what, reason) = match &outcome.result {
        Ok(worst) => (Some(worst.error), Some(worst.tolerance), Some(&worst.what), None),
        Err(reason) => (None, None, None, Some(reason)),
    };
    json!({
        "name": outcome.name, "kind": outcome.kind, "error": error, "tolerance": tolerance, "worst": what,
        "passed": outcome.passed(), "reason": reason,
    })
}
