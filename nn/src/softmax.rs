//! Softmax of rows of logits and the losses made of it, in f32, as operators of candle: one each on every device, where a
//! chain of candle's operators sums in an order that depends on the processor, and is some hundred launches on CUDA.

use std::sync::{Mutex, PoisonError};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, D, Device, Layout, Shape, Tensor};

use crate::error::Result;
#[cfg(feature = "cuda")]
use crate::fused;
use crate::ops::cpu::rows;
use crate::ops::rows::{Divergence, Rows};
use crate::values::{contiguous, with_values};

/// softmax(logits / temperature) over the last dimension.
pub(crate) fn probs(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    // An error where there is no dimension.
    logits.dim(D::Minus1)?;
    Ok(logits.contiguous()?.apply_op1(Probs { temperature })?)
}

struct Probs {
    temperature: f64,
}

impl CustomOp1 for Probs {
    fn name(&self) -> &'static str {
        "tempered_probs"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let probs = rows::probs(contiguous(logits, layout)?, Rows::of(layout.dims()), self.temperature);
        Ok((CpuStorage::F32(probs), layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, logits: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        Ok((fused::probs((logits, layout), self.temperature)?, layout.shape().clone()))
    }

    fn bwd(&self, _: &Tensor, probs: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        #[cfg(feature = "cuda")]
        if probs.device().is_cuda() {
            return Ok(Some(fused::probs_grad(probs, &grad, self.temperature)?));
        }
        let of = Rows::of(probs.dims());
        let made = with_values(probs, |probs| {
            with_values(&grad, |grad| Ok(rows::probs_grad(probs, grad, of, self.temperature)))
        })?;
        Ok(Some(Tensor::from_vec(made, probs.shape(), &Device::Cpu)?))
    }
}

/// What a mean over rows of logits (M, B, K) is taken of.
pub(crate) enum Loss {
    /// Against labels (B,).
    Labels(Tensor),
    /// From probabilities (M, B, K) or (1, B, K).
    Targets(Tensor, Divergence),
}

/// A [`Loss`] as an operator: its value, and its gradient, which is made with it.
struct MeanLoss {
    loss: Loss,
    gradient: Mutex<Option<Tensor>>,
}

/// The mean of -ln softmax(logits)_y.
pub(crate) fn cross_entropy(logits: &Tensor, labels: &Tensor) -> Result<Tensor> {
    mean_loss(logits, Loss::Labels(labels.contiguous()?))
}

/// The mean divergence of softmax(logits / temperature) from `targets`.
pub(crate) fn divergence(targets: &Tensor, logits: &Tensor, kind: Divergence) -> Result<Tensor> {
    mean_loss(logits, Loss::Targets(targets.detach().contiguous()?, kind))
}

fn mean_loss(logits: &Tensor, loss: Loss) -> Result<Tensor> {
    Ok(logits.contiguous()?.apply_op1(MeanLoss { loss, gradient: Mutex::new(None) })?)
}

impl MeanLoss {
    fn keep(&self, gradient: Option<Tensor>) {
        *self.gradient.lock().unwrap_or_else(PoisonError::into_inner) = gradient;
    }
}

impl CustomOp1 for MeanLoss {
    fn name(&self) -> &'static str {
        "mean_loss"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (logits, of) = (contiguous::<f32>(logits, layout)?, Rows::of(layout.dims()));
        let (mean, gradient) = match &self.loss {
            Loss::Labels(labels) => with_values(labels, |labels| {
                rows::cross_entropy(logits, labels, of).or_else(|label| {
                    candle_core::bail!("cross-entropy: label {label} is none of {} classes", of.classes)
                })
            })?,
            Loss::Targets(targets, kind) => {
                with_values(targets, |targets| Ok(rows::divergence(targets, logits, of, *kind)))?
            }
        };
        self.keep(Some(Tensor::from_vec(gradient, layout.shape(), &Device::Cpu)?));
        Ok((CpuStorage::F32(vec![mean]), Shape::from(())))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, logits: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let (mean, gradient) = fused::mean_loss(&self.loss, (logits, layout))?;
        self.keep(gradient);
        Ok((mean, Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(gradient) = &*gradient else {
            candle_core::bail!("{}: backward without forward", self.name())
        };
        #[cfg(feature = "cuda")]
        if gradient.device().is_cuda() {
            return Ok(Some(fused::times(gradient, grad)?));
        }
        Ok(Some(gradient.broadcast_mul(grad)?))
    }
}
