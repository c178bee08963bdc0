//! The memory pool of a device, which this process allocates from.

use candle_core::cuda::cudarc::driver::CudaContext;
use candle_core::cuda::cudarc::driver::result::mem_get_info;
use candle_core::cuda::cudarc::driver::sys::{
    CUmemPool_attribute_enum as Attribute, CUmemoryPool, cuDeviceGetDefaultMemPool, cuMemPoolGetAttribute,
    cuMemPoolSetAttribute, cuMemPoolTrimTo,
};

use super::device::failed;
use crate::error::Result;

/// The most memory that this process's pool on device `ordinal` has had in use, in MiB.
///
/// # Errors
/// Where there is no such device.
pub fn peak_mib(ordinal: usize) -> Result<u64> {
    let context = CudaContext::new(ordinal).map_err(|error| failed(format!("device {ordinal}"), error))?;
    let mut bytes = 0_u64;
    let pool = pool(&context)?;
    // SAFETY: the pool is the device's own; the attribute is a u64.
    unsafe { cuMemPoolGetAttribute(pool, Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, (&raw mut bytes).cast()) }
        .result()
        .map_err(|error| failed("memory in use", error))?;
    Ok(bytes >> 20)
}

/// Begins [`peak_mib`] anew.
pub(super) fn forget_peak(context: &CudaContext) -> Result<()> {
    set(context, Attribute::CU_MEMPOOL_ATTR_USED_MEM_HIGH, 0)
}

/// Without this the device's pool gives freed memory back at each synchronisation, and asks for it anew.
pub(super) fn keep_freed_memory(context: &CudaContext) -> Result<()> {
    set(context, Attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, u64::MAX)
}

/// Gives what is free back to the device, for other processes too.
pub(super) fn give_back(context: &CudaContext) -> Result<()> {
    context.bind_to_thread().map_err(|error| failed("memory pool", error))?;
    // SAFETY: the pool is the device's own.
    unsafe { cuMemPoolTrimTo(pool(context)?, 0) }.result().map_err(|error| failed("memory pool", error))
}

fn set(context: &CudaContext, attribute: Attribute, mut value: u64) -> Result<()> {
    let pool = pool(context)?;
    // SAFETY: the pool is the device's own; the attributes above are u64, and may be set to what they are set to.
    unsafe { cuMemPoolSetAttribute(pool, attribute, (&raw mut value).cast()) }
        .result()
        .map_err(|error| failed("memory pool", error))
}

fn pool(context: &CudaContext) -> Result<CUmemoryPool> {
    let mut pool = std::ptr::null_mut();
    // SAFETY: the device is the context's.
    unsafe { cuDeviceGetDefaultMemPool(&mut pool, context.cu_device()) }
        .result()
        .map_err(|error| failed("memory pool", error))?;
    Ok(pool)
}

/// What the device in use has of memory, for an error: ` where 12 of 144384 MiB are free`; nothing where it does not say.
pub(super) fn there() -> String {
    let mebibytes = |bytes: usize| bytes >> 20;
    mem_get_info()
        .map(|(free, total)| format!(" where {} of {} MiB are free", mebibytes(free), mebibytes(total)))
        .unwrap_or_default()
}
