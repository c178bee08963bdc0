//! The devices that a plan is spread over, and what its estimate means there.

use std::fmt::Write as _;

use anyhow::Context;

use crate::config::Resolved;
use crate::device::{self, Chosen};
use crate::plan::schedule::schedule;
use crate::plan::{Estimate, Plan, Run, duration};
use crate::train::room::Most;
use crate::train::workers::Spread;

/// The devices of a spread.
pub(super) struct Opened {
    /// Where steps are timed and analyses computed, and all else where there is no other.
    pub(super) first: Chosen,
    /// All, and why they were taken.
    pub(super) reasons: String,
}

impl Opened {
    /// Opens all devices, so that one that is missing is found before anything is trained.
    ///
    /// # Errors
    /// Those of [`Spread::open`].
    pub(super) fn all(spread: &Spread) -> anyhow::Result<Self> {
        let all = spread.devices.iter().map(|name| spread.open(name));
        let all: Vec<Chosen> = all.collect::<anyhow::Result<_>>()?;
        let reasons = all.iter().map(|chosen| chosen.reason.as_str()).collect::<Vec<_>>().join("; ");
        let mut all = all.into_iter();
        let first = all.next().context("no device is named")?;
        all.for_each(|other| device::close(other.device));
        Ok(Self { first, reasons })
    }
}

/// What the estimate, of one run after the other on the first device, means for a spread.
pub(super) fn describe(
    spread: &Spread,
    resolved: &Resolved,
    plan: &Plan,
    estimate: &Estimate,
) -> anyhow::Result<String> {
    let Spread { devices, most, .. } = spread;
    if plan.missing().next().is_none() {
        return Ok(String::new());
    }
    let mut text = String::new();
    if devices.len() > 1 {
        let seconds = |run: &Run| estimate.run_seconds(&resolved.config, run.row.method());
        let jobs = plan.jobs(|run| Ok(seconds(run)?.map_or(0.0, |(run, _)| run)))?;
        let length = duration(schedule(&jobs, devices.len()).makespan);
        writeln!(
            text,
            "on {} devices, each as quick as the first and with one run at a time: {length}, validation counted",
            devices.len()
        )?;
    }
    let at_a_time = match *most {
        Most { runs, teachers } if teachers <= runs => format!("{runs} runs"),
        Most { runs: 1, teachers } => format!("{teachers} teachers"),
        Most { runs, teachers } => format!("{runs} runs or {teachers} teachers"),
    };
    if most.at_a_time() > 1 {
        writeln!(text, "up to {at_a_time} at a time on a device: what that gains or costs is not estimated")?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::config::{self, Override};
    use crate::experiments::Experiment;

    /// Four teachers of 3 epochs of 12 steps of 1 s, and 192 predictions (32 after each epoch, 32 and 64 at the end) of 1/24 s:
    /// 44 s each, two of them on each device.
    #[test]
    fn the_estimate_is_spread_over_the_devices() {
        let settings = [Override::set("methods=[\"teacher\"]").unwrap()];
        let resolved =
            config::resolve(&Experiment::find("quick").unwrap(), Some("smoke"), &settings).unwrap();
        let plan = Plan::new(&resolved, Path::new("nowhere")).unwrap();
        let steps = BTreeMap::from([("teacher".to_owned(), 1.0)]);
        let estimate = Estimate::given(steps, &resolved.config).unwrap();
        let text = |devices: &[&str], teachers| {
            let devices = devices.iter().map(ToString::to_string).collect();
            let spread = Spread {
                devices,
                option: "--devices",
                precision: "f32".to_owned(),
                micro_batch: None,
                most: Most { runs: 1, teachers },
            };
            describe(&spread, &resolved, &plan, &estimate).unwrap()
        };
        let spread =
            "on 2 devices, each as quick as the first and with one run at a time: 88 s, validation counted\n";
        let shared = "up to 4 teachers at a time on a device: what that gains or costs is not estimated\n";
        assert_eq!(text(&["cuda:0", "cuda:1"], 1), spread);
        assert_eq!(text(&["cuda:0"], 4), shared);
        assert_eq!(text(&["cuda:0", "cuda:1"], 4), format!("{spread}{shared}"));
    }
}
