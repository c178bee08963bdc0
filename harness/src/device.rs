//! Which device computes, and why.

use anyhow::bail;
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

/// The device for `--device`: `auto` and `cpu` take the CPU, the only one that the training engine has operators for.
///
/// # Errors
/// An unknown name; `cuda` or `cuda:<n>`, which this version cannot train on.
pub fn choose(name: &str) -> anyhow::Result<Chosen> {
    let reason = match name {
        "cpu" => "cpu, as asked",
        "auto" => "cpu: the only device that this version has operators for",
        _ if name == "cuda" || name.strip_prefix("cuda:").is_some_and(|n| n.parse::<usize>().is_ok()) => {
            bail!(
                "--device {name}: this version has operators for the CPU only; leave the option out or write cpu"
            )
        }
        _ => return Err(UnknownName::new("device", name, ["auto", "cpu", "cuda:0"]).into()),
    };
    Ok(Chosen { device: Device::Cpu, name: "cpu".to_owned(), reason: reason.to_owned() })
}
