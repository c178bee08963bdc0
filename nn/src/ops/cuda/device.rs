//! A CUDA device that runs the kernels.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::cuda::DeviceId;
use candle_core::cuda::cudarc::driver::result::{
    self, memcpy_dtod_async, memcpy_dtoh_async, memcpy_htod_async,
};
use candle_core::cuda::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use candle_core::cuda::cudarc::driver::{
    CudaContext, CudaFunction, CudaGraph, CudaModule, CudaSlice, CudaStream, LaunchConfig, PushKernelArg,
};
use candle_core::cuda::cudarc::nvrtc::{CompileOptions, Ptx, compile_ptx_with_opts};
use candle_core::cuda::kernels::{AFFINE, BINARY, FILL, REDUCE, UNARY};
use candle_core::{CudaDevice, Device};

use super::backend::{Arena, Backend, Launch, Recording, THREADS};
use super::convolution::Call;
#[cfg(feature = "cudnn")]
use super::cudnn::Way;
use super::implicit_gemm;
use super::kernels::Kernels;
use super::memory::{give_back, keep_freed_memory};
use super::quiet;
use super::streams::Streams;
use super::{Element, kind_of, source};
use crate::error::{Error, Result};
use crate::profile::{self, Kind};

/// An error of CUDA while doing `what`.
pub(super) fn failed(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Error {
    Error::Candle(candle_core::Error::msg(format!("CUDA, {what}: {error}")))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The devices in use. They are not dropped at the end of the process: where a device has failed, its libraries panic as they
/// close.
static OPEN: Mutex<Vec<(DeviceId, Arena)>> = Mutex::new(Vec::new());

fn find(device: &CudaDevice) -> Option<Arena> {
    lock(&OPEN).iter().find(|(id, _)| *id == device.id()).map(|(_, arena)| arena.clone())
}

/// The memory and kernels of candle's device, shared by all networks on it. Those of a device that was not opened by
/// [`open_with`] are opened on its first use.
///
/// # Errors
/// Where the kernels do not compile for the device, or its libraries do not open.
pub(crate) fn arena(device: &CudaDevice) -> Result<Arena> {
    if let Some(arena) = find(device) {
        return Ok(arena);
    }
    let kernels = Kernels::asked()?;
    let _nobody_records = quiet::alone();
    match find(device) {
        Some(arena) => Ok(arena),
        None => prepare(device, kernels),
    }
}

/// While nobody records.
fn prepare(device: &CudaDevice, kernels: Kernels) -> Result<Arena> {
    load_candles_kernels(device)?;
    let arena = Arena::new(Arc::new(Cuda::new(device, kernels)?));
    lock(&OPEN).push((device.id(), arena.clone()));
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
    let context = CudaContext::new(ordinal).map_err(|error| failed(format!("device {ordinal}"), error))?;
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

/// Gives back the memory that is kept for the next step on `device`.
pub fn release(device: &CudaDevice) {
    let Some(arena) = find(device) else { return };
    arena.trim();
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
        let place = open.iter().position(|(id, _)| *id == cuda.id());
        place.map(|place| open.remove(place))
    };
    drop((closed, device));
}

/// A kernel's name, its lanes and its element.
type FunctionKey = (&'static str, Option<usize>, Element);

/// candle's device with the compiled kernels.
struct Cuda {
    /// Kept open as long as this is.
    _device: CudaDevice,
    /// The main one of the streams.
    stream: Arc<CudaStream>,
    streams: Arc<Streams>,
    modules: [Arc<CudaModule>; 2],
    functions: Mutex<HashMap<FunctionKey, CudaFunction>>,
    memory: Mutex<HashMap<u64, CudaSlice<u8>>>,
    is_recording: AtomicBool,
    /// Whether passes are recorded: unless the environment says `DIVKD_CUDA_GRAPHS=off`.
    records: bool,
    #[cfg(feature = "cudnn")]
    convolutions: super::cudnn::Convolutions,
    #[cfg(not(feature = "cudnn"))]
    kernels: Kernels,
}

impl Cuda {
    fn new(device: &CudaDevice, kernels: Kernels) -> Result<Self> {
        // SAFETY: candle and this crate use one stream of the device, in the order of the host's calls, so that nothing
        // needs the events that would order streams.
        unsafe { device.disable_event_tracking() };
        let stream = device.cuda_stream();
        let context = stream.context();
        keep_freed_memory(context)?;
        let (major, minor) = context.compute_capability().map_err(|error| failed("capability", error))?;
        let kernels = kernels.on(major);
        let module = |element: Element| {
            let ptx = Ptx::from_src(compiled(element, format!("compute_{major}{minor}"))?);
            context.load_module(ptx).map_err(|error| failed("loading the kernels", error))
        };
        Ok(Self {
            _device: device.clone(),
            modules: [module(Element::F32)?, module(Element::Bf16)?],
            functions: Mutex::default(),
            memory: Mutex::default(),
            is_recording: AtomicBool::new(false),
            records: std::env::var("DIVKD_CUDA_GRAPHS").as_deref() != Ok("off"),
            #[cfg(feature = "cudnn")]
            convolutions: super::cudnn::Convolutions::new(&stream, kernels)?,
            #[cfg(not(feature = "cudnn"))]
            kernels,
            streams: Arc::new(Streams::new(Arc::clone(&stream))),
            stream,
        })
    }

    /// Makes the device's context the calling thread's, which calls past candle need.
    fn bind(&self) -> Result<()> {
        self.stream.context().bind_to_thread().map_err(|error| failed("context", error))
    }

    /// Runs `work`, which moves `bytes`; while the profile is on, alone on the device and counted as `kind`.
    fn timed(&self, kind: Kind, bytes: usize, work: impl FnOnce() -> Result<()>) -> Result<()> {
        if !profile::is_enabled() {
            return work();
        }
        let wait = || self.stream.synchronize().map_err(|error| failed("profile", error));
        wait()?;
        profile::moved(kind, bytes);
        profile::measure(kind, || work().and_then(|()| wait()))
    }

    /// # Safety
    /// As [`Backend::launch`].
    unsafe fn start(&self, launch: &Launch<'_>) -> Result<()> {
        let function = self.function(launch)?;
        let words: Vec<u64> = launch.args.iter().map(|arg| arg.word()).collect();
        let mut builder = self.stream.launch_builder(&function);
        for word in &words {
            builder.arg(word);
        }
        let [x, y, z] = launch.grid.map(|blocks| blocks as u32);
        let config =
            LaunchConfig { grid_dim: (x, y, z), block_dim: (THREADS as u32, 1, 1), shared_mem_bytes: 0 };
        // SAFETY: the caller's; a kernel reads each argument at the lower end of its word.
        unsafe { builder.launch(config) }.map_err(|error| failed(launch.name(), error))?;
        Ok(())
    }

    fn function(&self, launch: &Launch<'_>) -> Result<CudaFunction> {
        let key = (launch.kernel, launch.lanes, launch.element);
        let mut functions = lock(&self.functions);
        if let Some(function) = functions.get(&key) {
            return Ok(function.clone());
        }
        let name = launch.name();
        let module = &self.modules[usize::from(launch.element == Element::Bf16)];
        let function = module.load_function(&name).map_err(|error| failed(&name, error))?;
        functions.insert(key, function.clone());
        Ok(function)
    }
}

/// The kernels' PTX, compiled once for each architecture.
fn compiled(element: Element, architecture: String) -> Result<String> {
    static COMPILED: Mutex<Vec<((Element, String), String)>> = Mutex::new(Vec::new());
    let mut all = lock(&COMPILED);
    let key = (element, architecture);
    if let Some((_, ptx)) = all.iter().find(|(of, _)| *of == key) {
        return Ok(ptx.clone());
    }
    let options = CompileOptions {
        options: vec![format!("--gpu-architecture={}", key.1)],
        name: Some(format!("divkd-{element:?}.cu")),
        ..CompileOptions::default()
    };
    let ptx = compile_ptx_with_opts(source(element), options)
        .map_err(|error| failed("compiling the kernels", format!("{error:?}")))?
        .to_src();
    all.push((key, ptx.clone()));
    Ok(ptx)
}

/// A CUDA graph on the stream that it was captured from.
struct Captured {
    graph: Mutex<CudaGraph>,
    streams: Arc<Streams>,
}

// SAFETY: a graph may be used by any one thread at a time, which the mutex sees to.
unsafe impl Send for Captured {}
// SAFETY: as above.
unsafe impl Sync for Captured {}

impl Recording for Captured {
    fn replay(&self) -> Result<()> {
        let (graph, stream) = (lock(&self.graph), self.streams.active());
        let asked = |error| failed("launching a graph", error);
        stream.context().bind_to_thread().map_err(asked)?;
        // SAFETY: both are alive; what the graph reads and writes is its track's.
        unsafe { result::graph::launch(graph.cu_graph_exec(), stream.cu_stream()) }.map_err(asked)
    }
}

impl Backend for Cuda {
    fn allocate(&self, bytes: usize) -> Result<u64> {
        if self.is_recording.load(Ordering::Relaxed) {
            return Err(failed("recording", "memory is missing"));
        }
        // SAFETY: every bit pattern is a valid byte; readers write first.
        let slice = unsafe { self.stream.alloc::<u8>(bytes) };
        let slice =
            slice.map_err(|error| failed(format!("allocating {} KiB", bytes.div_ceil(1024)), error))?;
        let address = super::device_address(&slice, &self.stream);
        lock(&self.memory).insert(address, slice);
        Ok(address)
    }

    fn free(&self, address: u64, _: usize) {
        lock(&self.memory).remove(&address);
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        self.bind()?;
        // SAFETY: both are memory of this device that holds that many bytes.
        unsafe { memcpy_dtod_async(to, from, bytes, self.streams.active().cu_stream()) }
            .map_err(|error| failed("copy on the device", error))
    }

    fn upload(&self, bytes: &[u8], to: u64) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.bind()?;
        // SAFETY: `to` is memory of this device that holds that many bytes; the driver has copied pageable memory away when
        // the call returns.
        unsafe { memcpy_htod_async(to, bytes, self.stream.cu_stream()) }
            .map_err(|error| failed("copy to the device", error))
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.bind()?;
        // SAFETY: `from` is memory of this device that holds that many bytes.
        unsafe { memcpy_dtoh_async(bytes, from, self.stream.cu_stream()) }
            .and_then(|()| self.stream.synchronize())
            .map_err(|error| failed("copy from the device", error))
    }

    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        // SAFETY: the caller's.
        self.timed(kind_of(launch.kernel), launch.bytes, || unsafe { self.start(launch) })
    }

    #[cfg(feature = "cudnn")]
    unsafe fn convolve(&self, arena: &Arena, call: &Call) -> Result<()> {
        if call.linear {
            // SAFETY: the caller's.
            return unsafe { super::convolution::direct(self, call) };
        }
        self.bind()?;
        match self.convolutions.way(arena, call, self.is_recording.load(Ordering::Relaxed))? {
            Way::Library(plan) => {
                let kind = call.pass.kind();
                // SAFETY: the caller's.
                self.timed(kind, call.bytes(), || unsafe { self.convolutions.run(arena, &plan, call) })?;
                if plan.is_fused {
                    profile::moved(kind, call.skip_bytes());
                    return Ok(());
                }
                // SAFETY: the caller's.
                unsafe { super::convolution::finish(self, call) }
            }
            // SAFETY: the caller's; it is taken for what fits alone.
            Way::TensorCores => unsafe { implicit_gemm::run(arena, call) },
            // SAFETY: the caller's.
            Way::Plain => unsafe { super::convolution::direct(self, call) },
        }
    }

    #[cfg(not(feature = "cudnn"))]
    unsafe fn convolve(&self, arena: &Arena, call: &Call) -> Result<()> {
        // SAFETY: the caller's.
        unsafe {
            if self.kernels != Kernels::Library && implicit_gemm::fits(call) {
                implicit_gemm::run(arena, call)
            } else {
                super::convolution::direct(self, call)
            }
        }
    }

    fn records(&self) -> bool {
        self.records && !profile::is_enabled()
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        let _recording = quiet::recording();
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(|error| failed("recording", error))?;
        self.is_recording.store(true, Ordering::Relaxed);
        let ended = work();
        self.is_recording.store(false, Ordering::Relaxed);
        // Whatever `work` says, the stream must leave its capture.
        let graph = self.stream.end_capture(CUgraphInstantiate_flags(0));
        ended?;
        match graph.map_err(|error| failed("recording", error))? {
            Some(graph) => {
                Ok(Box::new(Captured { graph: Mutex::new(graph), streams: Arc::clone(&self.streams) }))
            }
            None => Err(failed("recording", "the device made no graph of it")),
        }
    }

    fn lane(&self) -> usize {
        self.streams.lane()
    }

    fn beside(&self, lane: usize, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.streams.beside(lane, work)
    }

    fn join(&self) -> Result<()> {
        self.streams.join()
    }
}
