//! Which device computes, and why.

use anyhow::{Context, bail};
use candle_core::Device;

use crate::nearest::UnknownName;

/// A device and what to tell the user about it.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Where tensors live.
    pub device: Device,
    /// `cpu` or `cuda:0`, for records.
    pub name: String,
    /// The name and why it was taken, for people.
    pub reason: String,
}

/// The device for `--device`: `cpu`, `cuda` or `cuda:<n>`, or `auto`, which takes the first GPU that works and else
/// the CPU.
///
/// # Errors
/// An unknown name; a GPU that was asked for and does not work, or that this build has no code for.
pub fn choose(name: &str) -> anyhow::Result<Chosen> {
    if name == "cpu" {
        return Ok(cpu("cpu, as asked"));
    }
    if name == "auto" {
        return Ok(match cuda(0) {
            Ok(device) => {
                Chosen { device, name: "cuda:0".to_owned(), reason: "cuda:0, found by auto".to_owned() }
            }
            Err(why) => cpu(&format!("cpu: {why:#}")),
        });
    }
    let ordinal = match name.strip_prefix("cuda") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix(':').and_then(|number| number.parse().ok()),
        None => None,
    };
    let Some(ordinal) = ordinal else {
        return Err(UnknownName::new("device", name, ["auto", "cpu", "cuda:0"]).into());
    };
    let device = cuda(ordinal).with_context(|| format!("--device {name}"))?;
    Ok(Chosen { device, name: format!("cuda:{ordinal}"), reason: format!("cuda:{ordinal}, as asked") })
}

fn cpu(reason: &str) -> Chosen {
    Chosen { device: Device::Cpu, name: "cpu".to_owned(), reason: reason.to_owned() }
}

fn cuda(ordinal: usize) -> anyhow::Result<Device> {
    if !cfg!(feature = "cuda") {
        bail!("this build has no CUDA code (build it with --features cudnn)");
    }
    let device = Device::new_cuda(ordinal).context("no usable NVIDIA GPU")?;
    // A driver that starts may still lack the kernels: one small product tells.
    let probe = candle_core::Tensor::ones((2, 2), candle_core::DType::F32, &device)?;
    probe.matmul(&probe).and_then(|product| product.to_vec2::<f32>()).context("the GPU does not compute")?;
    Ok(device)
}
