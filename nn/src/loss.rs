//! Cross-entropy and the tempered Kullback-Leibler divergence of distillation.
//!
//! In f32, which networks compute in, softmax and losses are operators of this crate on every device. In f64 they are the chains
//! of candle's operators that say here what they are.

use candle_core::{D, DType, Tensor};
use candle_nn::ops::log_softmax;

use crate::error::{Error, Result};
#[cfg(feature = "cuda")]
use crate::fused;
use crate::ops::rows::Divergence;
use crate::softmax;

/// Mean over the M * B rows of -ln softmax(logits)_y.
///
/// `logits` (M, B, K), `labels` (B,) integers below K: every member is trained on every label.
///
/// # Errors
/// [`Error::Shape`] where the labels are not one an image.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let (members, batch, _) = logits.dims3()?;
    check_labels("cross_entropy", labels, batch)?;
    let labels = labels.to_dtype(DType::U32)?;
    if logits.dtype() == DType::F32 {
        return softmax::cross_entropy(logits, &labels);
    }
    let index = labels.reshape((1, batch, 1))?.broadcast_as((members, batch, 1))?.contiguous()?;
    let log_probs = log_softmax(logits, D::Minus1)?;
    Ok(log_probs.gather(&index, 2)?.mean_all()?.neg()?)
}

/// softmax(logits / temperature) over the last dimension. In f32 its gradient loses no digits where a probability is nearly 1.
///
/// # Errors
/// Candle's, where the tensor has no dimension.
pub fn tempered_probs(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    if logits.dtype() == DType::F32 {
        return softmax::probs(logits, temperature);
    }
    Ok(log_softmax(&(logits / temperature)?, D::Minus1)?.exp()?)
}

/// KL(target || softmax(logits / temperature)), summed over classes, averaged over the M * B rows ("batchmean").
///
/// `target` are probabilities (M, B, K), or (1, B, K) for all members; no gradient flows into them. The protocol's
/// distillation loss is alpha * temperature^2 times this.
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit.
pub fn tempered_kl(target: &Tensor, logits: &Tensor, temperature: f64) -> Result<Tensor> {
    let (members, batch) = check_target("tempered_kl", target, logits)?;
    let target = target.detach();
    if logits.dtype() == DType::F32 {
        return softmax::divergence(&target, logits, Divergence { temperature, with_entropy: true });
    }
    // p ln p -> 0 for p -> 0: the floor keeps the logarithm finite where the product is zero anyway.
    let log_target = target.maximum(f64::from(f32::MIN_POSITIVE))?.log()?;
    let log_student = log_softmax(&(logits / temperature)?, D::Minus1)?;
    let difference = log_target.broadcast_sub(&log_student)?;
    let rows = (members * batch) as f64;
    Ok((target.broadcast_mul(&difference)?.sum_all()? / rows)?)
}

/// -sum target ln softmax(logits / temperature), summed over classes, averaged over the M * B rows: the divergence of
/// [`tempered_kl`] and the target's entropy, whose gradients by the logits are the same.
///
/// `target` are probabilities (M, B, K), or (1, B, K) for all members; no gradient flows into them.
///
/// # Errors
/// [`Error::Shape`] where the shapes do not fit.
pub fn tempered_cross_entropy(target: &Tensor, logits: &Tensor, temperature: f64) -> Result<Tensor> {
    let (members, batch) = check_target("tempered_cross_entropy", target, logits)?;
    if logits.dtype() == DType::F32 {
        return softmax::divergence(target, logits, Divergence { temperature, with_entropy: false });
    }
    let log_student = log_softmax(&(logits / temperature)?, D::Minus1)?;
    let rows = (members * batch) as f64;
    Ok((target.detach().broadcast_mul(&log_student)?.sum_all()? / -rows)?)
}

/// M and B of logits (M, B, K) whose target probabilities are (M, B, K) or (1, B, K).
fn check_target(operation: &'static str, target: &Tensor, logits: &Tensor) -> Result<(usize, usize)> {
    let (members, batch, classes) = logits.dims3()?;
    if [[members, batch, classes], [1, batch, classes]].iter().any(|dims| target.dims() == dims) {
        return Ok((members, batch));
    }
    let expected = format!("a target ({members}, {batch}, {classes}) or (1, {batch}, {classes})");
    Err(Error::Shape { operation, expected, found: target.dims().to_vec() })
}

/// a x + b y, of single values, with gradients by both.
///
/// # Errors
/// [`Error::Shape`] where one is no single value.
pub fn blend(x: &Tensor, y: &Tensor, (a, b): (f64, f64)) -> Result<Tensor> {
    check_single("blend", &[x, y])?;
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() {
        return fused::blend(x, y, (a, b));
    }
    Ok(((x * a)? + (y * b)?)?)
}

/// The largest value of each row along the last dimension, without a gradient.
///
/// # Errors
/// Candle's, where the tensor has no dimension.
pub fn largest(values: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if values.device().is_cuda() {
        return fused::largest(values);
    }
    Ok(values.max(D::Minus1)?.detach())
}

/// Four numbers of a step for the log: `total`, `ce`, `kd` (0 without one), and how many of the M * B rows of `logits` (M, B,
/// K) have their largest value, the first of equal ones, at the label (B,). None of them has a gradient.
///
/// # Errors
/// [`Error::Shape`] where the labels are not one an image, or a loss is no single value.
pub fn tally(
    [total, ce]: [&Tensor; 2],
    kd: Option<&Tensor>,
    logits: &Tensor,
    labels: &Tensor,
) -> Result<Tensor> {
    let (_, batch, _) = logits.dims3()?;
    check_labels("tally", labels, batch)?;
    check_single("tally", &[total, ce])?;
    check_single("tally", kd.as_slice())?;
    let logits = logits.detach();
    #[cfg(feature = "cuda")]
    if logits.device().is_cuda() {
        return fused::tally([total, ce], kd, &logits, &labels.to_dtype(DType::U32)?);
    }
    let predicted = logits.argmax(2)?;
    let correct = predicted.broadcast_eq(&labels.unsqueeze(0)?)?.to_dtype(DType::F32)?.sum_all()?;
    let kd = kd.map_or_else(|| correct.zeros_like(), |kd| Ok(kd.detach()))?;
    Ok(Tensor::stack(&[total.detach(), ce.detach(), kd, correct], 0)?)
}

fn check_single(operation: &'static str, values: &[&Tensor]) -> Result<()> {
    match values.iter().find(|value| value.rank() > 0) {
        None => Ok(()),
        Some(value) => Err(Error::Shape {
            operation,
            expected: "a single value".to_owned(),
            found: value.dims().to_vec(),
        }),
    }
}

fn check_labels(operation: &'static str, labels: &Tensor, batch: usize) -> Result<()> {
    if labels.dims() == [batch] {
        return Ok(());
    }
    Err(Error::Shape { operation, expected: format!("labels ({batch},)"), found: labels.dims().to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// By hand: rows ln 2 and ln(1 + e^-1) for the two classes.
    #[test]
    fn cross_entropy_of_two_classes() {
        let logits = Tensor::new(&[[[0.0_f32, 0.0], [1.0, 0.0]]], &Device::Cpu).unwrap();
        let labels = Tensor::new(&[1_u32, 0], &Device::Cpu).unwrap();
        let loss = cross_entropy(&logits, &labels).unwrap().to_scalar::<f32>().unwrap();
        let expected = (2.0_f32.ln() + (1.0 + (-1.0_f32).exp()).ln()) / 2.0;
        assert!((loss - expected).abs() < 1e-6, "{loss} {expected}");
        assert!(cross_entropy(&logits, &Tensor::new(&[1_u32], &Device::Cpu).unwrap()).is_err());
    }

    /// What a kernel would read past or pass over is an error on every device.
    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        let of = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        let labels = Tensor::zeros(3, DType::U32, &Device::Cpu).unwrap();
        let (one, pair, logits) = (of(&[]), of(&[2]), of(&[2, 3, 4]));
        assert!(blend(&one, &one, (1.0, 2.0)).is_ok() && blend(&one, &pair, (1.0, 2.0)).is_err());
        assert!(tally([&one, &one], Some(&one), &logits, &labels).is_ok());
        assert!(tally([&one, &one], Some(&pair), &logits, &labels).is_err());
        assert!(tally([&one, &one], None, &logits, &labels.narrow(0, 0, 2).unwrap()).is_err());
        for (target, fits) in [([2, 3, 4], true), ([1, 3, 4], true), ([2, 1, 4], false), ([2, 3, 1], false)] {
            assert_eq!(tempered_kl(&of(&target), &logits, 1.0).is_ok(), fits, "{target:?}");
            assert_eq!(tempered_cross_entropy(&of(&target), &logits, 1.0).is_ok(), fits, "{target:?}");
        }
        assert!(largest(&one).is_err());
    }

    #[test]
    fn kl_is_zero_for_equal_and_finite_for_certain_targets() {
        let logits = Tensor::new(&[[[0.3_f32, -1.0, 2.0]]], &Device::Cpu).unwrap();
        let same = tempered_probs(&logits, 4.0).unwrap();
        let kl = tempered_kl(&same, &logits, 4.0).unwrap().to_scalar::<f32>().unwrap();
        assert!(kl.abs() < 1e-6, "{kl}");
        let certain = Tensor::new(&[[[1.0_f32, 0.0, 0.0]]], &Device::Cpu).unwrap();
        let kl = tempered_kl(&certain, &logits, 1.0).unwrap().to_scalar::<f32>().unwrap();
        let expected = (0.3_f32.exp() + (-1.0_f32).exp() + 2.0_f32.exp()).ln() - 0.3;
        assert!((kl - expected).abs() < 1e-5, "{kl} {expected}");
    }
}
