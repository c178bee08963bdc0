//! Which device computes, in which precision, and why.

use std::collections::BTreeMap;

use anyhow::{bail, ensure};
use candle_core::Device;
use nn::Precision;

use crate::cli::WrongOptions;
use crate::machine;
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
    /// What its bits depend on, for records: the machine's class, and on a CUDA device its name and versions.
    pub machine: String,
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
    choose_for("--device", name, precision)
}

/// The device of that name; errors name `option` as where it came from.
///
/// # Errors
/// Those of [`choose`].
pub fn choose_for(option: &str, name: &str, precision: &str) -> anyhow::Result<Chosen> {
    let precision = self::precision(precision)?;
    check(name)?;
    match (name, cuda_ordinal(name)) {
        ("auto", _) => match cuda(0, precision) {
            Ok(chosen) => Ok(chosen),
            Err(reason) => cpu(precision, &format!("cpu: {reason:#}")),
        },
        (_, Some(ordinal)) => match cuda(ordinal, precision) {
            Ok(chosen) => Ok(chosen),
            Err(reason) => bail!("{option} {name}: {reason:#}; leave the option out or write cpu"),
        },
        (_, None) => cpu(precision, "cpu, as asked"),
    }
}

/// Whether a device may have that name, without opening one.
///
/// # Errors
/// Other names, with the nearest that is right.
pub fn check(name: &str) -> Result<(), UnknownName> {
    let is_known = matches!(name, "auto" | "cpu") || cuda_ordinal(name).is_some();
    if is_known { Ok(()) } else { Err(UnknownName::new("device", name, ["auto", "cpu", "cuda:0"])) }
}

/// The precision of that name.
///
/// # Errors
/// Other names, with the nearest that is right.
pub fn precision(name: &str) -> Result<Precision, UnknownName> {
    name.parse().map_err(|_| UnknownName::new("precision", name, Precision::NAMES))
}

/// The precision that a record was made in, by its device's [name](Chosen::name).
pub fn precision_of(device: &str) -> Precision {
    device.split(' ').find_map(|word| word.parse().ok()).unwrap_or_default()
}

fn cpu(precision: Precision, reason: &str) -> anyhow::Result<Chosen> {
    ensure!(
        precision == Precision::F32,
        "--precision {precision}: the CPU computes in f32 alone; leave the option out or take --device cuda:0 ({reason})"
    );
    let (name, reason) = ("cpu".to_owned(), reason.to_owned());
    Ok(Chosen { device: Device::Cpu, precision, micro_batch: None, name, machine: machine::class(), reason })
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
        machine: format!("{}; {description}", machine::class()),
        reason: format!("cuda:{ordinal}, {precision} ({description})"),
    })
}

/// What a device reaches at best: 10^9 floating-point operations a second in `precision`, and 10^9 bytes a second of its
/// memory where that is measured.
///
/// # Errors
/// Where a CUDA device fails.
pub fn ceilings(chosen: &Chosen) -> anyhow::Result<(f64, Option<f64>)> {
    match &chosen.device {
        #[cfg(feature = "cuda")]
        device @ Device::Cuda(_) => {
            let found = nn::cuda::ceilings(device, chosen.precision)?;
            Ok((found.gflops, Some(found.gbytes_per_s)))
        }
        _ => Ok((nn::ops::cpu::peak::peak_gflops(), None)),
    }
}

/// The most memory of the device that this process has had in use, in MiB; `None` on the CPU.
pub fn peak_mib(device: &Device) -> Option<u64> {
    match device.location() {
        #[cfg(feature = "cuda")]
        candle_core::DeviceLocation::Cuda { gpu_id } => nn::cuda::peak_mib(gpu_id).ok(),
        _ => None,
    }
}

/// Whether this process's recorded passes are still tried in several manners.
pub fn is_choosing() -> bool {
    #[cfg(feature = "cuda")]
    return nn::cuda::open_trials() > 0;
    #[cfg(not(feature = "cuda"))]
    false
}

/// Gives back the memory that is kept on a CUDA device for the next step of the thread that opened it.
pub fn release(device: &Device) {
    #[cfg(feature = "cuda")]
    if let Device::Cuda(device) = device {
        nn::cuda::release(device);
    }
    #[cfg(not(feature = "cuda"))]
    let _ = device;
}

/// How the convolutions of the run on a device are computed, in words: empty where that is no choice.
pub type Ways = BTreeMap<String, String>;

/// How those of the run so far were, for [`set_ways`].
pub fn ways(device: &Device) -> Ways {
    match device {
        #[cfg(feature = "cudnn")]
        Device::Cuda(device) => nn::cuda::ways(device),
        _ => Ways::new(),
    }
}

/// A run begins or goes on, which was computed in these ways so far.
pub fn set_ways(device: &Device, kept: &Ways) {
    #[cfg(feature = "cudnn")]
    if let Device::Cuda(device) = device {
        nn::cuda::set_ways(device, kept);
    }
    #[cfg(not(feature = "cudnn"))]
    let _ = (device, kept);
}

/// Closes a device that nothing is left on; the CPU stays.
pub fn close(device: Device) {
    #[cfg(feature = "cuda")]
    nn::cuda::close(device);
    #[cfg(not(feature = "cuda"))]
    let _ = device;
}

/// Whether a device had too little memory, by the names that CUDA, cuBLAS and cuDNN have for that.
pub fn is_out_of_memory(error: &anyhow::Error) -> bool {
    let names = ["OUT_OF_MEMORY", "ALLOC_FAILED", "ALLOCATION_FAILED"];
    error.chain().map(ToString::to_string).any(|text| names.iter().any(|name| text.contains(name)))
}

/// What helps against an error, where it is a device's lack of memory.
pub fn advice(error: &anyhow::Error) -> Option<&'static str> {
    is_out_of_memory(error).then_some(
        "the device has too little free memory for this. With the same result: fewer runs at a time (--concurrent-runs 1, \
         --concurrent-teachers 1), smaller pieces of a batch where it has several batch-norm groups (--micro-batch B), a device \
         that nobody else is on. With another result: --precision bf16, or smaller batches (--set teacher.batch=B, student.batch=B)",
    )
}

/// What is wrong with several names for `--devices`: each must be one device, and not named twice.
///
/// # Errors
/// [`WrongOptions`] with the name.
pub fn check_names(names: &[String]) -> Result<(), WrongOptions> {
    let mut seen = Vec::new();
    for name in names {
        let device = match cuda_ordinal(name) {
            Some(ordinal) => format!("cuda:{ordinal}"),
            None => name.clone(),
        };
        if seen.contains(&device) {
            let what = format!(
                "--devices names {device} twice; --concurrent-runs N has several runs at a time on it"
            );
            return Err(WrongOptions(what));
        }
        seen.push(device);
    }
    let kinds = seen.iter().filter(|name| !name.starts_with("cuda:")).count();
    if kinds > 0 && seen.len() > 1 {
        let what = "--devices takes several CUDA devices, such as cuda:0,cuda:1, or one device: runs on a CPU and on a GPU \
                    have other bits";
        return Err(WrongOptions(what.to_owned()));
    }
    Ok(())
}

fn cuda_ordinal(name: &str) -> Option<usize> {
    if name == "cuda" { Some(0) } else { name.strip_prefix("cuda:")?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::{advice, check_names, choose, choose_for, is_out_of_memory, precision_of};

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

    #[test]
    fn a_records_device_names_its_precision() {
        for (device, expected) in [
            ("cpu", "f32"),
            ("cpu micro-batch 64", "f32"),
            ("cuda:0", "f32"),
            ("cuda:1 bf16", "bf16"),
            ("cuda:0 tf32 micro-batch 16", "tf32"),
        ] {
            assert_eq!(precision_of(device).to_string(), expected, "{device}");
        }
    }

    #[test]
    fn devices_are_named_once() {
        let check = |names: &str| {
            let names: Vec<String> = names.split(',').map(str::to_owned).collect();
            check_names(&names).map_err(|error| error.to_string())
        };
        for right in ["cpu", "auto", "cuda", "cuda:0,cuda:1", "cuda:3,cuda"] {
            assert_eq!(check(right), Ok(()));
        }
        assert!(check("cuda:1,cuda,cuda:0").unwrap_err().starts_with("--devices names cuda:0 twice; "));
        for wrong in ["cpu,cpu", "cuda:0,cuda:00"] {
            assert!(check(wrong).unwrap_err().contains("twice"), "{wrong}");
        }
        for wrong in ["cpu,cuda:0", "auto,cuda:1", "cuda:0,gpu:1"] {
            assert!(check(wrong).unwrap_err().contains("several CUDA devices"), "{wrong}");
        }
    }

    /// As cudarc writes them.
    #[test]
    fn memory_that_ran_out_is_told_from_other_failures() {
        for (error, expected) in [
            ("CUDA, allocating 9 MiB: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")", true),
            ("CublasError(CUBLAS_STATUS_ALLOC_FAILED)", true),
            ("CudnnError(CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED)", true),
            ("DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access was encountered\")", false),
        ] {
            let error = anyhow::anyhow!(error).context("teacher-1/seed-1 failed in epoch 1");
            assert_eq!(is_out_of_memory(&error), expected, "{error:#}");
            assert_eq!(advice(&error).is_some_and(|advice| advice.contains("--micro-batch")), expected);
        }
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
            let message = format!("{:#}", choose_for("--devices", name, "tf32").unwrap_err());
            assert!(message.starts_with(&format!("--devices {name}: {why}")), "{message}");
        }
        assert!(error("auto", "bf16").contains(why));
    }
}
