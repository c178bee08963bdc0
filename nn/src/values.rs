//! The values of tensors on the CPU, without a copy.

use candle_core::{CpuStorage, Layout, Storage, Tensor, WithDType};

/// The values of a contiguous layout.
pub(crate) fn contiguous<'a, T: WithDType>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [T]> {
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&storage.as_slice::<T>()?[start..end]),
        None => candle_core::bail!("expected a contiguous tensor, found {layout:?}"),
    }
}

/// Calls `f` on a contiguous tensor's values.
pub(crate) fn with_values<T: WithDType, R>(
    tensor: &Tensor,
    f: impl FnOnce(&[T]) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(cpu) => f(contiguous(cpu, layout)?),
        _ => {
            candle_core::bail!("expected a tensor on the CPU, found one on {:?}", tensor.device().location())
        }
    }
}
