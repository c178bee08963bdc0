//! Cross-entropy and the tempered Kullback-Leibler divergence of distillation.

use candle_core::{D, DType, Tensor};
use candle_nn::ops::log_softmax;

use crate::error::{Error, Result};

/// Mean over the M * B rows of -ln softmax(logits)_y.
///
/// `logits` (M, B, K), `labels` (B,) integers below K: every member is trained on every label.
///
/// # Errors
/// [`Error::Shape`] where the labels are not one an image.
pub fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    let (members, batch, _) = logits.dims3()?;
    if labels.dims() != [batch] {
        return Err(Error::Shape {
            operation: "cross_entropy",
            expected: format!("labels ({batch},)"),
            found: labels.dims().to_vec(),
        });
    }
    let index = labels
        .to_dtype(DType::U32)?
        .reshape((1, batch, 1))?
        .broadcast_as((members, batch, 1))?
        .contiguous()?;
    let log_probs = log_softmax(logits, D::Minus1)?;
    Ok(log_probs.gather(&index, 2)?.mean_all()?.neg()?)
}

/// softmax(logits / temperature) over the last dimension.
///
/// # Errors
/// Candle's, where the tensor has no dimension.
pub fn tempered_probs(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    Ok(log_softmax(&(logits / temperature)?, D::Minus1)?.exp()?)
}

/// KL(target || softmax(logits / temperature)), summed over classes, averaged over the M * B rows ("batchmean").
///
/// `target` are probabilities (M, B, K), or (1, B, K) for all members; no gradient flows into them. The protocol's
/// distillation loss is alpha * temperature^2 times this.
///
/// # Errors
/// Candle's, where the shapes do not fit.
pub fn tempered_kl(target: &Tensor, logits: &Tensor, temperature: f64) -> Result<Tensor> {
    let (members, batch, _) = logits.dims3()?;
    let target = target.detach();
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
/// `target` are probabilities (M, B, K); no gradient flows into them.
///
/// # Errors
/// Candle's, where the shapes do not fit.
pub fn tempered_cross_entropy(target: &Tensor, logits: &Tensor, temperature: f64) -> Result<Tensor> {
    let (members, batch, _) = logits.dims3()?;
    let log_student = log_softmax(&(logits / temperature)?, D::Minus1)?;
    let rows = (members * batch) as f64;
    Ok((target.detach().broadcast_mul(&log_student)?.sum_all()? / -rows)?)
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
