//! The CUDA devices that are in use: opened, described and closed.

use std::sync::{Arc, Mutex};

use candle_core::cuda::DeviceId;
use candle_core::cuda::cudarc::driver::CudaContext;
use candle_core::cuda::kernels::{AFFINE, BINARY, FILL, REDUCE, UNARY};
use candle_core::{CudaDevice, Device};

use super::backend::{Arena, Backend};
#[cfg(feature = "cudnn")]
use super::cudnn::Ways;
use super::device::{Cuda, failed, lock};
use super::kernels::Kernels;
use super::memory::give_back;
use super::quiet;
use crate::error::Result;

/// The devices in use. They are not dropped at the end of the process: where a device has failed, its libraries panic as they
/// close.
static OPEN: Mutex<Vec<Open>> = Mutex::new(Vec::new());

#[derive(Clone)]
struct Open {
    id: DeviceId,
    arena: Arena,
    #[cfg(feature = "cudnn")]
    cuda: Arc<Cuda>,
}

fn find(device: &CudaDevice) -> Option<Open> {
    lock(&OPEN).iter().find(|open| open.id == device.id()).cloned()
}

/// The memory and kernels of candle's device, shared by all networks on it. Those of a device that was not opened by
/// [`open_with`] are opened on its first use.
///
/// # Errors
/// Where the kernels do not compile for the device, or its libraries do not open.
pub(crate) fn arena(device: &CudaDevice) -> Result<Arena> {
    if let Some(open) = find(device) {
        return Ok(open.arena);
    }
    let kernels = Kernels::asked()?;
    let _nobody_records = quiet::alone();
    match find(device) {
        Some(open) => Ok(open.arena),
        None => prepare(device, kernels),
    }
}

/// While nobody records.
fn prepare(device: &CudaDevice, kernels: Kernels) -> Result<Arena> {
    load_candles_kernels(device)?;
    let cuda = Arc::new(Cuda::new(device, kernels)?);
    let arena = Arena::new(Arc::clone(&cuda) as Arc<dyn Backend>);
    lock(&OPEN).push(Open {
        id: device.id(),
        arena: arena.clone(),
        #[cfg(feature = "cudnn")]
        cuda,
    });
    Ok(arena)
}

/// Opens device `ordinal` and compiles the kernels for it. The device belongs to the thread that opens it.
///
/// # Errors
/// Where there is no driver or no such device, where a library is missing, or the kernels do not compile.
pub fn open(ordinal: usize) -> Result<Device> {
    open_with(ordinal, Kernels::asked()?)
}

/// [`open`] with a choice of what computes convolutions, whatever `DIVKD_CUDA_CONVOLUTIONS` says.
///
/// # Errors
/// As there.
pub fn open_with(ordinal: usize, kernels: Kernels) -> Result<Device> {
    let _nobody_records = quiet::alone();
    // A stream that the default one, which libraries may use, does not wait for.
    let device = Device::new_cuda_with_stream(ordinal)?;
    prepare(device.as_cuda_device()?, kernels)?;
    Ok(device)
}

/// Loads those that training runs now, and not when they are first run, which may be while another thread records.
fn load_candles_kernels(device: &CudaDevice) -> Result<()> {
    let one_of_each = [
        ("affine_f32", &AFFINE),
        ("badd_f32", &BINARY),
        ("const_set_f32", &FILL),
        ("fast_sum_f32", &REDUCE),
        ("usqr_f32", &UNARY),
    ];
    for (kernel, module) in one_of_each {
        device.get_or_load_func(kernel, module)?;
    }
    Ok(())
}

/// Name and compute capability of device `ordinal`, and the CUDA and cuDNN versions in use.
///
/// # Errors
/// Where there is no such device.
pub fn describe(ordinal: usize) -> Result<String> {
    described(&*CudaContext::new(ordinal).map_err(|error| failed(format!("device {ordinal}"), error))?)
}

pub(super) fn described(context: &CudaContext) -> Result<String> {
    let name = context.name().map_err(|error| failed("name", error))?;
    let (major, minor) = context.compute_capability().map_err(|error| failed("capability", error))?;
    #[cfg(feature = "cudnn")]
    let convolutions = format!("cuDNN {}", candle_core::cuda::cudarc::cudnn::result::get_version());
    #[cfg(not(feature = "cudnn"))]
    let convolutions = "without cuDNN";
    Ok(format!("{name}, compute capability {major}.{minor}, {convolutions}"))
}

/// Number of devices that the driver shows; 0 where there is no driver.
pub fn count() -> usize {
    CudaContext::device_count().map_or(0, |count| usize::try_from(count).unwrap_or(0))
}

/// How the convolutions of the run on `device` are computed so far, for [`set_ways`] when it goes on, in this process or another
/// one. Empty where the device was not opened.
#[cfg(feature = "cudnn")]
pub fn ways(device: &CudaDevice) -> Ways {
    find(device).map(|open| open.cuda.convolutions.ways()).unwrap_or_default()
}

/// A run begins on `device`. Its convolutions are computed as `kept` says of them, if that was chosen on such a device with the
/// same libraries, and the others as in other runs of the process. Networks that have passed before are not to pass again.
#[cfg(feature = "cudnn")]
pub fn set_ways(device: &CudaDevice, kept: &Ways) {
    if let Some(open) = find(device) {
        open.cuda.convolutions.set_ways(kept);
    }
}

/// Gives back the memory that is kept for the next step on `device`.
pub fn release(device: &CudaDevice) {
    let Some(open) = find(device) else { return };
    open.arena.trim();
    let stream = device.cuda_stream();
    // Where the device has failed, that was reported.
    if stream.synchronize().is_ok() {
        let _ = give_back(stream.context());
    }
}

/// Closes a device that nothing is left on: its memory, kernels and libraries.
pub fn close(device: Device) {
    let Device::Cuda(cuda) = &device else { return };
    let _nobody_records = quiet::alone();
    if cuda.cuda_stream().synchronize().is_err() {
        // It has failed, which was reported, and so would everything that would be done to close it.
        return std::mem::forget(device);
    }
    release(cuda);
    let closed = {
        let mut open = lock(&OPEN);
        let place = open.iter().position(|open| open.id == cuda.id());
        place.map(|place| open.remove(place))
    };
    drop((closed, device));
}
