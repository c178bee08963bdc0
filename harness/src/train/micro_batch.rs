//! Whether `--micro-batch` can be kept: before anything is trained, not in the middle of it.

use methods::micro_batch::largest_group;

use crate::cli::WrongOptions;
use crate::config::Config;
use crate::plan::{self, Plan};

/// Holds the batches of all missing runs to pieces of at most `most` images.
///
/// # Errors
/// [`WrongOptions`] where a batch-norm group is larger, or a method's batches cannot be cut: the row, its groups, and what works.
pub fn check(most: Option<usize>, config: &Config, plan: &Plan) -> anyhow::Result<()> {
    let Some(most) = most else { return Ok(()) };
    // The least that works for each method, its batch, and why.
    let mut needs = Vec::new();
    for run in plan.missing() {
        let name = run.row.method();
        let method = plan::method(config, name)?;
        let batch = plan::recipe(config, name, method.as_ref()).batch;
        let (least, why) = if method.couples_groups() {
            (batch, format!("{name} couples the groups of its batches of {batch} images"))
        } else {
            let group = largest_group(batch, config.bn_groups);
            let groups = config.bn_groups;
            (group, format!("bn_groups = {groups} makes groups of {group} images of the {batch} of {name}"))
        };
        needs.push((least, why));
    }
    if let Some((_, why)) = needs.iter().find(|(least, _)| *least > most) {
        let least = needs.iter().map(|(least, _)| *least).max().unwrap_or(most);
        return Err(WrongOptions(format!(
            "--micro-batch {most}: a batch is cut at batch-norm groups only, and {why}; the smallest that works for this \
             plan is --micro-batch {least}"
        ))
        .into());
    }
    Ok(())
}
