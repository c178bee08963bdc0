//! Losses and perturbations on CUDA, a kernel or two each: as chains of candle's operators they are some hundred launches,
//! allocations and copies of layouts a step. They are defined where they are called ([`crate::loss`], [`crate::pixels`]), as
//! the chains that the CPU runs.

use std::sync::{Mutex, PoisonError};

use candle_core::cuda::CudaDType;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, CustomOp2, D, Layout, Shape, Storage, Tensor,
};

use crate::error::Result;
use crate::ops::cuda::rows::{self, Divergence, Rows};
use crate::ops::cuda::{filled, filled_storage, tensor_address};

/// The address of a contiguous tensor's first value.
fn address<T: CudaDType>(tensor: &Tensor) -> candle_core::Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cuda(storage) => tensor_address::<T>((storage, layout)),
        _ => candle_core::bail!("expected a tensor on CUDA, found one on {:?}", tensor.device().location()),
    }
}

fn floats(tensor: &Tensor) -> candle_core::Result<u64> {
    address::<f32>(tensor)
}

fn not_on_cpu<T>(name: &str) -> candle_core::Result<T> {
    candle_core::bail!("{name}: an operator for CUDA got a tensor on the CPU")
}

fn device_of(tensor: &Tensor) -> candle_core::Result<&CudaDevice> {
    tensor.device().as_cuda_device()
}

/// Rows along the last dimension.
fn rows_of(shape: &Shape) -> Rows {
    let classes = shape.dims().last().copied().unwrap_or(1);
    Rows { rows: shape.elem_count() / classes.max(1), classes }
}

/// softmax(logits / temperature) over the last dimension.
pub(crate) fn probs(logits: &Tensor, temperature: f64) -> Result<Tensor> {
    Ok(logits.contiguous()?.apply_op1(Probs(temperature))?)
}

struct Probs(f64);

impl CustomOp1 for Probs {
    fn name(&self) -> &'static str {
        "tempered_probs"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        not_on_cpu(self.name())
    }

    fn cuda_fwd(&self, logits: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let from = tensor_address::<f32>((logits, layout))?;
        let (shape, of) = (layout.shape(), rows_of(layout.shape()));
        let made = filled_storage(&logits.device, shape.elem_count(), |backend, to| {
            // SAFETY: both hold the rows.
            unsafe { rows::probs(backend, (from, to), of, self.0) }
        })?;
        Ok((made, shape.clone()))
    }

    fn bwd(&self, _: &Tensor, probs: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let (grad, of) = (grad.contiguous()?, rows_of(probs.shape()));
        let (probs_at, grad_at) = (floats(probs)?, floats(&grad)?);
        let made = filled(device_of(probs)?, probs.shape(), |backend, to| {
            // SAFETY: all hold the rows.
            unsafe { rows::probs_grad(backend, (probs_at, grad_at, to), of, self.0) }
        })?;
        Ok(Some(made))
    }
}

/// What a mean over rows of logits (M, B, K) is taken of.
enum Loss {
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

impl CustomOp1 for MeanLoss {
    fn name(&self) -> &'static str {
        "mean_loss"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        not_on_cpu(self.name())
    }

    fn cuda_fwd(&self, logits: &CudaStorage, layout: &Layout) -> candle_core::Result<(CudaStorage, Shape)> {
        let from = tensor_address::<f32>((logits, layout))?;
        let (device, of) = (&logits.device, rows_of(layout.shape()));
        let mut gradient = None;
        let losses = filled(device, of.rows, |backend, losses| {
            gradient = Some(filled(device, layout.shape(), |_, grads| match &self.loss {
                Loss::Labels(labels) => {
                    let labels_at = address::<u32>(labels)?;
                    let (from, to) = ((from, labels_at), (losses, grads));
                    // SAFETY: all hold the rows; the labels were checked to be one an image.
                    unsafe { rows::cross_entropy(backend, from, to, of, labels.elem_count()) }
                }
                Loss::Targets(targets, kind) => {
                    let (from, to) = ((floats(targets)?, from), (losses, grads));
                    let target_rows = rows_of(targets.shape()).rows;
                    // SAFETY: all hold the rows; the targets' shape was checked.
                    unsafe { rows::divergence(backend, from, to, of, target_rows, *kind) }
                }
            })?);
            Ok(())
        })?;
        *self.gradient.lock().unwrap_or_else(PoisonError::into_inner) = gradient;
        let losses_at = floats(&losses)?;
        let mean = filled_storage(device, 1, |backend, to| {
            // SAFETY: a float a row, and one.
            unsafe { rows::mean(backend, (losses_at, to), of.rows) }
        })?;
        Ok((mean, Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let gradient = self.gradient.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(gradient) = &*gradient else {
            candle_core::bail!("{}: backward without forward", self.name())
        };
        Ok(Some(times(gradient, grad)?))
    }
}

/// Values times a single one.
fn times(values: &Tensor, by: &Tensor) -> Result<Tensor> {
    let (values_at, by_at, count) = (floats(values)?, floats(by)?, values.elem_count());
    filled(device_of(values)?, values.shape(), |backend, to| {
        // SAFETY: `values` and what is made have `count` values.
        unsafe { rows::times(backend, (values_at, by_at, to), count) }
    })
}

/// a x + b y, of single values.
pub(crate) fn blend(x: &Tensor, y: &Tensor, (a, b): (f64, f64)) -> Result<Tensor> {
    Ok(x.apply_op2(y, Blend(a, b))?)
}

struct Blend(f64, f64);

impl CustomOp2 for Blend {
    fn name(&self) -> &'static str {
        "blend"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        not_on_cpu(self.name())
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        y: &CudaStorage,
        y_layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let (x_at, y_at) = (tensor_address::<f32>((x, x_layout))?, tensor_address::<f32>((y, y_layout))?);
        let made = filled_storage(&x.device, 1, |backend, to| {
            // SAFETY: a value each.
            unsafe { rows::blend(backend, (x_at, y_at, to), (self.0, self.1)) }
        })?;
        Ok((made, Shape::from(())))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let by = |tensor: &Tensor, factor| tensor.track_op().then(|| grad * factor).transpose();
        Ok((by(x, self.0)?, by(y, self.1)?))
    }
}

/// Total, cross-entropy, divergence (0 without one), and the rows of logits (M, B, K) whose largest is their label's.
pub(crate) fn tally(
    [total, ce]: [&Tensor; 2],
    kd: Option<&Tensor>,
    logits: &Tensor,
    labels: &Tensor,
) -> Result<Tensor> {
    let (logits, labels) = (logits.contiguous()?, labels.contiguous()?);
    let (device, of) = (device_of(&logits)?, rows_of(logits.shape()));
    let (logits_at, labels_at) = (floats(&logits)?, address::<u32>(&labels)?);
    let losses = [floats(total)?, floats(ce)?, kd.map(floats).transpose()?.unwrap_or(0)];
    let hits = filled(device, of.rows, |backend, to| {
        // SAFETY: a float a row; labels are one an image.
        unsafe { rows::hits(backend, (logits_at, labels_at, to), of, labels.elem_count()) }
    })?;
    let hits_at = floats(&hits)?;
    filled(device, 4, |backend, to| {
        // SAFETY: single values, a hit a row, and four numbers.
        unsafe { rows::tally(backend, losses, (hits_at, to), of.rows) }
    })
}

/// The largest value of each row along the last dimension.
pub(crate) fn largest(values: &Tensor) -> Result<Tensor> {
    // An error where there is no dimension.
    values.dim(D::Minus1)?;
    let values = values.contiguous()?;
    let (of, from) = (rows_of(values.shape()), floats(&values)?);
    filled(device_of(&values)?, &values.dims()[..values.rank() - 1], |backend, to| {
        // SAFETY: a float a row.
        unsafe { rows::largest(backend, (from, to), of) }
    })
}

/// Each example's values over their length, taken as `least` at least.
pub(crate) fn unit(values: &Tensor, least: f64) -> Result<Tensor> {
    let values = values.contiguous()?;
    let (images, from) = (values.dim(0)?, floats(&values)?);
    filled(device_of(&values)?, values.shape(), |backend, to| {
        // SAFETY: both hold the values.
        unsafe { rows::unit(backend, (from, to), (images, values.elem_count() / images.max(1)), least) }
    })
}

/// clip(x + size * d) to [0, 1], `size` times each example's factor where there are factors.
pub(crate) fn clipped_step(
    images: &Tensor,
    directions: &Tensor,
    size: f64,
    factors: Option<&Tensor>,
) -> Result<Tensor> {
    let (images, directions) = (images.contiguous()?, directions.contiguous()?);
    let factors = factors.map(Tensor::contiguous).transpose()?;
    let from =
        (floats(&images)?, floats(&directions)?, factors.as_ref().map(floats).transpose()?.unwrap_or(0));
    let (count, examples) = (images.elem_count(), images.dim(0)?);
    filled(device_of(&images)?, images.shape(), |backend, to| {
        let memory = (from.0, from.1, from.2, to);
        // SAFETY: images and directions have one shape, and there is a factor an example.
        unsafe { rows::clipped_step(backend, memory, (count, count / examples.max(1)), size) }
    })
}
