//! The driver's call that launches a kernel.

use std::ffi::c_void;

use candle_core::cuda::cudarc::driver::sys::{
    self, CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue, CUlaunchConfig,
};
use candle_core::cuda::cudarc::driver::{CudaFunction, CudaStream, DriverError};

use super::backend::{Launch, THREADS};

/// Launches on `stream`, whose context must be the thread's. One that `overlaps` may be started before the kernel before it on
/// the stream has ended: all of this crate's wait for that themselves.
///
/// # Safety
/// As `Backend::launch`; the function must be the launch's own.
pub(super) unsafe fn launch(
    function: &CudaFunction,
    launch: &Launch<'_>,
    stream: &CudaStream,
    overlaps: bool,
) -> Result<(), DriverError> {
    let [x, y, z] = launch.grid.map(|blocks| blocks as u32);
    let mut overlap = CUlaunchAttribute {
        id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
        pad: [0; 4],
        value: CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
    };
    let config = CUlaunchConfig {
        gridDimX: x,
        gridDimY: y,
        gridDimZ: z,
        blockDimX: THREADS as u32,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: 0,
        hStream: stream.cu_stream(),
        attrs: &raw mut overlap,
        numAttrs: u32::from(overlaps),
    };
    // A kernel reads each argument at the lower end of its word.
    let mut words: Vec<u64> = launch.args.iter().map(|arg| arg.word()).collect();
    let mut args: Vec<*mut c_void> = words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
    // SAFETY: the caller's; the driver has copied configuration and arguments when it returns.
    unsafe { sys::cuLaunchKernelEx(&config, function.cu_function(), args.as_mut_ptr(), std::ptr::null_mut()) }
        .result()
}
