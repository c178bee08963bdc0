//! In which precision a CUDA device computes convolutions and stores feature maps.

use std::fmt;
use std::str::FromStr;

/// Precision of a network's convolutions and feature maps. Parameters, statistics, pooled features, logits, losses and the
/// optimiser are f32 in each; the CPU knows [`Precision::F32`] alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// f32 maps; convolutions may take their factors in TF32 (10 bits of mantissa).
    Tf32,
    /// Maps and the convolutions' weights in bf16.
    Bf16,
}

impl Precision {
    /// All names, as `--precision` takes them.
    pub const NAMES: [&'static str; 3] = ["f32", "tf32", "bf16"];
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        })
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "f32" => Ok(Precision::F32),
            "tf32" => Ok(Precision::Tf32),
            "bf16" => Ok(Precision::Bf16),
            _ => Err(format!("unknown precision `{name}`; one of {}", Self::NAMES.join(", "))),
        }
    }
}
