//! The speed gate: training steps held to the share of the machine's multiply-add rate that they once had.
//!
//! The rate is measured on registers alone in the same run ([`peak_gflops`]), so that a slower or busier machine does not
//! fail it; a step fails below half of its stored share, which no noise explains.

use std::path::Path;

use anyhow::Context;
use candle_core::Device;
use nn::Precision;
use nn::ops::cpu::peak::peak_gflops;
use results::check::{Finding, Section, Verdict};
use serde::{Deserialize, Serialize};

use super::StepBench;

/// Part of a stored share below which a step fails.
const LOOSE: f64 = 0.5;

/// The stored shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpeedGolden {
    /// One entry a step.
    pub step: Vec<Share>,
}

/// One step, and the share of the multiply-add rate that it reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Network, such as `resnet-8`.
    pub network: String,
    /// Method.
    pub method: String,
    /// Training images a step.
    pub batch: usize,
    /// Height and width of an image.
    pub image: usize,
    /// GFLOP/s of the step over GFLOP/s of the machine.
    pub share: f64,
}

impl SpeedGolden {
    /// The steps that are stored where nothing is yet: small ones, a few seconds in all.
    pub fn first() -> Self {
        let step = |network: &str, method: &str, batch, image| Share {
            network: network.to_owned(),
            method: method.to_owned(),
            batch,
            image,
            share: 0.0,
        };
        Self {
            step: vec![
                step("resnet-8", "teacher", 128, 16),
                step("resnet-8", "be-kd-conf-ods", 64, 16),
                step("resnet-32", "teacher", 32, 32),
            ],
        }
    }

    /// Reads `speed.toml`.
    ///
    /// # Errors
    /// Where the file is missing or no list of steps.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| {
            format!("{}: run this in the repository, or make the file with --bless", path.display())
        })?;
        toml::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Writes it.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, toml::to_string(self)?).with_context(|| path.display().to_string())
    }

    /// The same steps with the shares that they reach now.
    ///
    /// # Errors
    /// Unknown methods and networks; failures of the device.
    pub fn measure(&self, device: &Device) -> anyhow::Result<Self> {
        let mut now = self.clone();
        let config = super::settings(super::EXPERIMENT)?;
        for step in &mut now.step {
            let bench = StepBench {
                config: config.clone(),
                network: step.network.clone(),
                batch: step.batch,
                classes: 10,
                members: 4,
                image: step.image,
                warmup: 2,
                steps: 7,
                precision: Precision::F32,
                micro_batch: None,
            };
            let measured = bench.run(&step.method, device, false)?;
            step.share = measured.operations / measured.seconds / 1e9 / peak_gflops();
        }
        Ok(now)
    }

    /// What `now` says, held to this.
    pub fn compare(&self, now: &Self) -> Section {
        let finding = |(stored, now): (&Share, &Share)| Finding {
            what: format!("{} {} batch {}", stored.network, stored.method, stored.batch),
            verdict: if now.share >= LOOSE * stored.share { Verdict::Pass } else { Verdict::Fail },
            evidence: format!("{:.2} of the multiply-add rate, stored {:.2}", now.share, stored.share),
        };
        let findings = self.step.iter().zip(&now.step).map(finding).collect();
        let title = "speed: share of the machine's multiply-add rate, measured in this run".to_owned();
        Section { list_all: true, ..Section::of_metrics(title, findings) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_of_less_than_half_its_share_fails() {
        let with = |share: f64| {
            let mut golden = SpeedGolden::first();
            golden.step.iter_mut().for_each(|step| step.share = share);
            golden
        };
        let verdict = |now: f64| with(0.4).compare(&with(now)).findings[0].verdict;
        assert_eq!(verdict(0.21), Verdict::Pass);
        assert_eq!(verdict(0.19), Verdict::Fail);
        let text = toml::to_string(&with(0.4)).unwrap();
        assert_eq!(toml::from_str::<SpeedGolden>(&text).unwrap(), with(0.4));
    }
}
