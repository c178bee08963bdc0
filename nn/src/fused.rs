//! Losses and perturbations on CUDA, a kernel or two each: as chains of candle's operators they are some hundred launches,
//! allocations and copies of layouts a step. They are defined where they are called ([`crate::loss`], [`crate::pixels`]).

use candle_core::cuda::CudaDType;
use candle_core::{CpuStorage, CudaDevice, CudaStorage, CustomOp2, D, Layout, Shape, Storage, Tensor};

use crate::error::Result;
use crate::ops::cuda::rows;
use crate::ops::cuda::{filled, filled_storage, tensor_address};
use crate::ops::rows::Rows;
use crate::softmax::Loss;

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

fn device_of(tensor: &Tensor) -> candle_core::Result<&CudaDevice> {
    tensor.device().as_cuda_device()
}

/// softmax(logits / temperature) over the last dimension.
pub(crate) fn probs(
    (logits, layout): (&CudaStorage, &Layout),
    temperature: f64,
) -> candle_core::Result<CudaStorage> {
    let from = tensor_address::<f32>((logits, layout))?;
    let made = filled_storage(&logits.device, layout.shape().elem_count(), |backend, to| {
        // SAFETY: both hold the rows.
        unsafe { rows::probs(backend, (from, to), Rows::of(layout.dims()), temperature) }
    })?;
    Ok(made)
}

/// Its gradient by the logits, from `probs` and the gradient by them.
pub(crate) fn probs_grad(probs: &Tensor, grad: &Tensor, temperature: f64) -> Result<Tensor> {
    let (probs_at, grad_at) = (floats(probs)?, floats(grad)?);
    filled(device_of(probs)?, probs.shape(), |backend, to| {
        // SAFETY: all hold the rows.
        unsafe { rows::probs_grad(backend, (probs_at, grad_at, to), Rows::of(probs.dims()), temperature) }
    })
}

/// A loss, and its gradient by the logits, which is always there.
pub(crate) fn mean_loss(
    loss: &Loss,
    (logits, layout): (&CudaStorage, &Layout),
) -> candle_core::Result<(CudaStorage, Option<Tensor>)> {
    let from = tensor_address::<f32>((logits, layout))?;
    let (device, of) = (&logits.device, Rows::of(layout.dims()));
    let mut gradient = None;
    let losses = filled(device, of.rows, |backend, losses| {
        gradient = Some(filled(device, layout.shape(), |_, grads| match loss {
            Loss::Labels(labels) => {
                let (from, to) = ((from, address::<u32>(labels)?), (losses, grads));
                // SAFETY: all hold the rows; the labels were checked to be one an image.
                unsafe { rows::cross_entropy(backend, from, to, of, labels.elem_count()) }
            }
            Loss::Targets(targets, kind) => {
                let (from, to) = ((floats(targets)?, from), (losses, grads));
                let target_rows = Rows::of(targets.dims()).rows;
                // SAFETY: all hold the rows; the targets' shape was checked.
                unsafe { rows::divergence(backend, from, to, of, target_rows, *kind) }
            }
        })?);
        Ok(())
    })?;
    let losses_at = floats(&losses)?;
    let mean = filled_storage(device, 1, |backend, to| {
        // SAFETY: a float a row, and one.
        unsafe { rows::mean(backend, (losses_at, to), of.rows) }
    })?;
    Ok((mean, gradient))
}

/// Values times a single one.
pub(crate) fn times(values: &Tensor, by: &Tensor) -> Result<Tensor> {
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
        candle_core::bail!("{}: an operator for CUDA got a tensor on the CPU", self.name())
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
    let (device, of) = (device_of(&logits)?, Rows::of(logits.dims()));
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
    let (of, from) = (Rows::of(values.dims()), floats(&values)?);
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
