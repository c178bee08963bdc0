//! The engine as part of candle's operator: tensors to addresses, and back.

use candle_core::cuda::cudarc::driver::CudaSlice;
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Layout, Storage, Tensor};

use super::backward::Memory;
use super::{Kept, OnDevice};
use crate::engine::backward::Wanted;
use crate::engine::forward::Request;
use crate::engine::graph::Graph;
use crate::ops::cuda::tensor_address;

type View<'a> = (&'a CudaStorage, &'a Layout);

/// Room for a result, which is candle's from then on.
fn room(device: &CudaDevice, len: usize) -> candle_core::Result<(CudaSlice<f32>, u64)> {
    // SAFETY: every value is written before it is read.
    let slice = unsafe { device.alloc::<f32>(len)? };
    let address = crate::ops::cuda::device_address(&slice, &device.cuda_stream());
    Ok((slice, address))
}

/// The forward pass: the output (rows, C, H, W), and what backward needs.
pub(crate) fn forward(
    on: &OnDevice,
    graph: &Graph,
    (images, params): (View<'_>, View<'_>),
    request: Request,
    weight_grads: bool,
) -> candle_core::Result<(CudaStorage, Option<Kept>)> {
    let device = &images.0.device;
    let shape = graph.features[graph.output()];
    let rows = graph.member_count() * request.batch;
    let (output, output_at) = room(device, rows * shape.values())?;
    let addresses = (tensor_address::<f32>(params)?, tensor_address::<f32>(images)?, output_at);
    // SAFETY: the network has checked the shapes of images and parameters.
    let kept = unsafe { on.forward(graph, addresses, request, weight_grads)? };
    Ok((CudaStorage::wrap_cuda_slice(output, device.clone()), kept))
}

/// The gradients by images and parameters, where wanted.
pub(crate) fn backward(
    on: &OnDevice,
    graph: &Graph,
    (images, params, grad_output): (&Tensor, &Tensor, &Tensor),
    kept: &Kept,
    wanted: Wanted,
) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
    let device = images.device().as_cuda_device()?;
    let at = |tensor: &Tensor| {
        let (storage, layout) = tensor.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => tensor_address::<f32>((storage, layout)),
            _ => candle_core::bail!("network: expected a tensor on CUDA"),
        }
    };
    let room = |wanted: bool, tensor: &Tensor| match wanted {
        true => room(device, tensor.elem_count()).map(Some),
        false => Ok(None),
    };
    let (by_images, by_params) = (room(wanted.images, images)?, room(wanted.params, params)?);
    let memory = Memory {
        params: at(params)?,
        grad_output: at(grad_output)?,
        grad_params: by_params.as_ref().map_or(0, |(_, address)| *address),
        grad_images: by_images.as_ref().map_or(0, |(_, address)| *address),
    };
    // SAFETY: the tensors are those of the forward pass; the gradients have their shapes.
    unsafe { on.backward(graph, kept, memory, wanted)? };
    let tensor = |result: Option<(CudaSlice<f32>, u64)>, like: &Tensor| {
        result.map(|(slice, _)| {
            let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(slice, device.clone()));
            Tensor::from_storage(storage, like.shape(), BackpropOp::none(), false)
        })
    };
    Ok((tensor(by_images, images), tensor(by_params, params)))
}
