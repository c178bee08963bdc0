//! How near a device's numbers must be to the CPU's, and to its own.

use candle_core::Tensor;
use libtest_mimic::Failed;
use nn::Precision;

pub(crate) fn failed(error: impl Into<anyhow::Error>) -> Failed {
    Failed::from(format!("{:#}", error.into()))
}

pub(crate) fn values(tensor: &Tensor) -> Result<Vec<f32>, Failed> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).map_err(failed)
}

/// Numbers that are none are equal to themselves in bits, and near nothing.
fn finite(what: &str, found: &[f32], expected: &[f32]) -> Result<(), Failed> {
    for (side, values) in [("found", found), ("expected", expected)] {
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(format!("{what}: {value} is among what is {side}").into());
        }
    }
    Ok(())
}

/// |found - expected| over |expected|.
pub(crate) fn near(what: &str, found: &[f32], expected: &[f32], tolerance: f64) -> Result<(), Failed> {
    finite(what, found, expected)?;
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let size = square(&mut expected.iter().map(|v| f64::from(*v)));
    let off = square(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    if found.len() == expected.len() && off <= tolerance * size.max(1e-12) {
        return Ok(());
    }
    Err(format!("{what}: {:.2e} off, allowed {tolerance:.0e}", off / size).into())
}

pub(crate) fn same(what: &str, found: &[f32], expected: &[f32]) -> Result<(), Failed> {
    finite(what, found, expected)?;
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    if bits(found) == bits(expected) { Ok(()) } else { Err(format!("{what}: other bits").into()) }
}

/// The largest rounding that matters: of factors in bf16; as much as what is cut off them in TF32; in f32 of sums.
fn unit(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 2.5e-6,
        Precision::Tf32 => 0.5_f64.powi(9),
        Precision::Bf16 => 0.5_f64.powi(8),
    }
}

/// How far smooth numbers may be off: a layer's output and gradients, logits, statistics. The reasons for this and for
/// [`kinked`] are those of the recorded cases (`harness::oracle`).
pub(crate) fn smooth(precision: Precision) -> f64 {
    4.0 * unit(precision)
}

/// How far what lies behind ReLUs may be off: a share of about the rounding of them decides the other way.
pub(crate) fn kinked(precision: Precision) -> f64 {
    4.0 * unit(precision).sqrt()
}
