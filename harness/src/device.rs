//! Which device computes, in which precision, and why.

use anyhow::{bail, ensure};
use candle_core::Device;
use nn::Precision;

use crate::nearest::UnknownName;

/// A device and what to tell the user about it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Where tensors live.
    pub device: Device,
    /// Precision of convolutions and feature maps; the CPU has f32 alone.
    pub precision: Precision,
    /// The most images of a pass; `None` takes a batch as it is.
    pub micro_batch: Option<usize>,
    /// `cpu`, `cuda:0` or `cuda:0 bf16`, for records.
    pub name: String,
    /// The name and why it was taken, for people.
    pub reason: String,
}

impl Chosen {
    /// The same, with batches in pieces of at most `most` images, where that is asked for.
    #[must_use]
    pub fn in_micro_batches(mut self, most: Option<usize>) -> Self {
        if let Some(most) = most {
            self.micro_batch = Some(most);
            self.name.push_str(&format!(" micro-batch {most}"));
            self.reason.push_str(&format!("; batches in pieces of at most {most} images"));
        }
        self
    }
}

/// The device for `--device`: `auto` takes the first CUDA device where one works, and the CPU otherwise.
///
/// # Errors
/// Unknown names; a CUDA device in a build without CUDA or on a machine without it; a precision that the device does not
/// compute in.
pub fn choose(name: &str, precision: &str) -> anyhow::Result<Chosen> {
    let Ok(precision) = precision.parse::<Precision>() else {
        return Err(UnknownName::new("precision", precision, Precision::NAMES).into());
    };
    let ordinal = match name {
        "cuda" => Some(0),
        _ => name.strip_prefix("cuda:").and_then(|ordinal| ordinal.parse().ok()),
    };
    match (name, ordinal) {
        ("auto", _) => match cuda(0, precision) {
            Ok(chosen) => Ok(chosen),
            Err(reason) => cpu(precision, &format!("cpu: {reason:#}")),
        },
        ("cpu", _) => cpu(precision, "cpu, as asked"),
        (_, Some(ordinal)) => match cuda(ordinal, precision) {
            Ok(chosen) => Ok(chosen),
            Err(reason) => bail!("--device {name}: {reason:#}; leave the option out or write cpu"),
        },
        _ => Err(UnknownName::new("device", name, ["auto", "cpu", "cuda:0"]).into()),
    }
}

fn cpu(precision: Precision, reason: &str) -> anyhow::Result<Chosen> {
    ensure!(
        precision == Precision::F32,
        "--precision {precision}: the CPU computes in f32 alone; leave the option out or take --device cuda:0 ({reason})"
    );
    let (name, reason) = ("cpu".to_owned(), reason.to_owned());
    Ok(Chosen { device: Device::Cpu, precision, micro_batch: None, name, reason })
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: usize, _: Precision) -> anyhow::Result<Chosen> {
    bail!("this build has no CUDA (cargo build --release --features cudnn)")
}

#[cfg(feature = "cuda")]
fn cuda(ordinal: usize, precision: Precision) -> anyhow::Result<Chosen> {
    let count = nn::cuda::count();
    ensure!(count > 0, "no CUDA device (the driver shows none)");
    ensure!(ordinal < count, "no CUDA device {ordinal} (the driver shows {count}, counted from 0)");
    let device = nn::cuda::open(ordinal)?;
    let description = nn::cuda::describe(ordinal)?;
    let suffix = if precision == Precision::F32 { String::new() } else { format!(" {precision}") };
    Ok(Chosen {
        device,
        precision,
        micro_batch: None,
        name: format!("cuda:{ordinal}{suffix}"),
        reason: format!("cuda:{ordinal}, {precision} ({description})"),
    })
}

/// The most memory of the device that this process has had in use, in MiB; `None` on the CPU.
pub fn peak_mib(device: &Device) -> Option<u64> {
    match device.location() {
        #[cfg(feature = "cuda")]
        candle_core::DeviceLocation::Cuda { gpu_id } => nn::cuda::peak_mib(gpu_id).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::choose;

    fn error(name: &str, precision: &str) -> String {
        format!("{:#}", choose(name, precision).unwrap_err())
    }

    #[test]
    fn the_cpu_is_always_there_in_f32() {
        let cpu = choose("cpu", "f32").unwrap();
        assert_eq!((cpu.name.as_str(), cpu.reason.as_str()), ("cpu", "cpu, as asked"));
        assert!(error("cpu", "bf16").contains("the CPU computes in f32 alone"));
        assert!(error("cpu", "tf23").contains("did you mean `tf32`?"));
        assert!(error("gpu:0", "f32").contains("unknown device `gpu:0`"));
    }

    /// Without CUDA in the build, or without a device, `auto` says why it takes the CPU and a named device is an error.
    #[test]
    fn a_missing_device_is_said_to_be_missing() {
        let auto = choose("auto", "f32").unwrap();
        if auto.name != "cpu" {
            return;
        }
        let why = if cfg!(feature = "cuda") { "no CUDA device" } else { "this build has no CUDA" };
        assert!(auto.reason.starts_with(&format!("cpu: {why}")), "{}", auto.reason);
        for name in ["cuda", "cuda:0", "cuda:3"] {
            let message = error(name, "tf32");
            assert!(message.starts_with(&format!("--device {name}: {why}")), "{message}");
        }
        assert!(error("auto", "bf16").contains(why));
    }
}
