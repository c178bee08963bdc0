//! The operators of a training step on a CUDA device: kernels in CUDA C (`*.cu`, compiled when a device is opened) and the
//! calls that launch them.
//!
//! Feature maps are stored channels last, (rows, pixels, channels). What runs the kernels is a [`Backend`]: a CUDA device,
//! or in tests the host, which compiles the same sources as C++ and runs a block's threads one after the other.

pub(crate) mod backend;
pub(crate) mod convolution;
pub(crate) mod draws;
pub(crate) mod implicit_gemm;
pub(crate) mod norm;
pub(crate) mod parts;
pub(crate) mod pointwise;
pub(crate) mod rows;
pub(crate) mod sgd;
pub(crate) mod weights;

#[cfg(feature = "cuda")]
pub(crate) mod ceilings;
#[cfg(feature = "cuda")]
mod compiled;
#[cfg(feature = "cudnn")]
pub(crate) mod cudnn;
#[cfg(feature = "cuda")]
pub(crate) mod device;
#[cfg(test)]
pub(crate) mod emulated;
#[cfg(feature = "cuda")]
pub(crate) mod kernels;
#[cfg(feature = "cuda")]
mod launch;
#[cfg(feature = "cuda")]
pub(crate) mod memory;
#[cfg(feature = "cuda")]
pub(crate) mod open;
#[cfg(feature = "cuda")]
mod quiet;
#[cfg(feature = "cuda")]
pub(crate) mod streams;

use backend::Element;

/// What a kernel's time counts as.
#[cfg(feature = "cuda")]
fn kind_of(kernel: &str) -> crate::profile::Kind {
    use crate::profile::Kind;
    match kernel {
        "moments" | "running_statistics" | "grad_sums" => Kind::Statistics,
        "pack_weights" | "fold_norms" | "weight_grads" | "s_grads" | "r_grads" | "bias_grad" => Kind::Weights,
        "direct_forward" | "gemm_forward" | "gemm_folded" => Kind::Forward,
        "direct_data" | "gemm_data" => Kind::GradInput,
        "direct_filter" | "gemm_filter" | "gemm_filter_sum" => Kind::GradWeight,
        _ => Kind::Pointwise,
    }
}

/// The address of a slice. All memory is taken and given back on one stream, for which no event of the slice's is needed.
#[cfg(feature = "cuda")]
pub(crate) fn device_address<T>(
    slice: &candle_core::cuda::cudarc::driver::CudaSlice<T>,
    stream: &candle_core::cuda::cudarc::driver::CudaStream,
) -> u64 {
    use candle_core::cuda::cudarc::driver::DevicePtr as _;
    slice.device_ptr(stream).0
}

/// The address of a contiguous tensor's first value.
#[cfg(feature = "cuda")]
pub(crate) fn tensor_address<T: candle_core::cuda::CudaDType>(
    (storage, layout): (&candle_core::CudaStorage, &candle_core::Layout),
) -> candle_core::Result<u64> {
    let Some((start, _)) = layout.contiguous_offsets() else {
        candle_core::bail!("expected a contiguous tensor, found {layout:?}")
    };
    let slice = storage.as_cuda_slice::<T>()?;
    let offset = start * size_of::<T>();
    Ok(device_address(slice, &storage.device.cuda_stream()) + offset as u64)
}

/// `len` floats that `fill` writes at the address it is given.
#[cfg(feature = "cuda")]
pub(crate) fn filled_storage(
    device: &candle_core::CudaDevice,
    len: usize,
    fill: impl FnOnce(&dyn backend::Backend, u64) -> crate::error::Result<()>,
) -> crate::error::Result<candle_core::CudaStorage> {
    // SAFETY: `fill` writes every value.
    let slice = unsafe { device.alloc::<f32>(len)? };
    fill(open::arena(device)?.backend(), device_address(&slice, &device.cuda_stream()))?;
    Ok(candle_core::CudaStorage::wrap_cuda_slice(slice, device.clone()))
}

/// The same as a tensor of `shape`.
#[cfg(feature = "cuda")]
pub(crate) fn filled(
    device: &candle_core::CudaDevice,
    shape: impl Into<candle_core::Shape>,
    fill: impl FnOnce(&dyn backend::Backend, u64) -> crate::error::Result<()>,
) -> crate::error::Result<candle_core::Tensor> {
    let shape = shape.into();
    let storage = candle_core::Storage::Cuda(filled_storage(device, shape.elem_count(), fill)?);
    Ok(candle_core::Tensor::from_storage(storage, shape, candle_core::op::BackpropOp::none(), false))
}

/// The text of all kernels, for one type of feature maps: the module that a device compiles.
pub(crate) fn source(element: Element) -> String {
    let define = match element {
        Element::F32 => "",
        Element::Bf16 => "#define BF16\n",
    };
    let parts = [
        define,
        include_str!("prelude.cu"),
        include_str!("image.cu"),
        include_str!("norm_relu.cu"),
        include_str!("parts.cu"),
        include_str!("statistics.cu"),
        include_str!("norm_grad.cu"),
        include_str!("join.cu"),
        include_str!("pool.cu"),
        include_str!("weights.cu"),
        include_str!("fold.cu"),
        include_str!("direct.cu"),
        include_str!("implicit_gemm.cu"),
        include_str!("rows.cu"),
        include_str!("sgd.cu"),
        include_str!("philox.cu"),
        include_str!("augment.cu"),
        include_str!("hold.cu"),
    ];
    parts.concat()
}
