//! Several runs of a plan at a time: on several devices, and on each of them.

use clap::Args;

use super::Planned;
use crate::train::room::Most;
use crate::train::workers::Spread;

/// Where the runs of a plan are trained.
#[derive(Clone, Debug, Args)]
pub struct SpreadOptions {
    /// Devices to spread the runs over, such as cuda:0,cuda:1, instead of --device.
    #[arg(long, value_name = "A,B", value_delimiter = ',', conflicts_with = "device")]
    pub devices: Vec<String>,
    /// Runs that each device trains at the same time, where one does not fill it. The results do not depend on it.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrent_runs: u16,
    /// Teachers that each device trains at the same time, where that is more.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrent_teachers: u16,
}

impl SpreadOptions {
    /// Whether none of them was given, or what was given changes nothing.
    pub fn is_default(&self) -> bool {
        self.devices.is_empty() && self.concurrent_runs == 1 && self.concurrent_teachers == 1
    }

    /// The devices of these options, else that of `planned`.
    pub fn spread(&self, planned: &Planned) -> Spread {
        let (option, devices) = match self.devices.is_empty() {
            true => ("--device", vec![planned.compute.device.clone()]),
            false => ("--devices", self.devices.clone()),
        };
        let most = Most { runs: self.concurrent_runs.into(), teachers: self.concurrent_teachers.into() };
        Spread {
            devices,
            option,
            precision: planned.compute.precision.clone(),
            micro_batch: planned.compute.most_images(),
            most,
        }
    }
}
