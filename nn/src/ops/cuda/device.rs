//! A CUDA device that runs the kernels.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use candle_core::CudaDevice;
use candle_core::cuda::cudarc::driver::result::{
    self, memcpy_dtod_async, memcpy_dtoh_async, memcpy_htod_async,
};
use candle_core::cuda::cudarc::driver::sys::{
    CUdevice_attribute, CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use candle_core::cuda::cudarc::driver::{CudaFunction, CudaGraph, CudaModule, CudaSlice, CudaStream};
use candle_core::cuda::cudarc::nvrtc::Ptx;

use super::backend::{Arena, Backend, Elapsed, Launch, Manner, Recording, THREADS, kernel_name};
use super::compiled::{compiled, entries};
use super::convolution::Call;
#[cfg(feature = "cudnn")]
use super::cudnn::Way;
use super::implicit_gemm;
use super::kernels::{Kernels, manners};
use super::memory::{self, keep_freed_memory};
use super::quiet;
use super::streams::Streams;
use super::{Element, kind_of};
use crate::error::{Error, Result};
use crate::profile::{self, Kind};

/// An error of CUDA while doing `what`.
pub(super) fn failed(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Error {
    Error::Candle(candle_core::Error::msg(format!("CUDA, {what}: {error}")))
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A kernel's name, its lanes and its element.
type FunctionKey = (&'static str, Option<usize>, Element);

/// A kernel, and how many blocks of it the device runs at a time.
#[derive(Clone)]
struct Loaded {
    function: CudaFunction,
    at_a_time: usize,
}

/// candle's device with the compiled kernels.
pub(super) struct Cuda {
    /// Kept open as long as this is.
    _device: CudaDevice,
    /// The main one of the streams.
    stream: Arc<CudaStream>,
    streams: Arc<Streams>,
    modules: [Arc<CudaModule>; 2],
    functions: Mutex<HashMap<FunctionKey, Loaded>>,
    multiprocessors: usize,
    memory: Mutex<HashMap<u64, CudaSlice<u8>>>,
    is_recording: AtomicBool,
    manners: &'static [Manner],
    #[cfg(feature = "cudnn")]
    pub(super) convolutions: super::cudnn::Convolutions,
    #[cfg(not(feature = "cudnn"))]
    kernels: Kernels,
}

impl Cuda {
    pub(super) fn new(device: &CudaDevice, kernels: Kernels) -> Result<Self> {
        // SAFETY: candle's work, and all that takes or gives back memory, is on one stream in the order of the host's calls; what
        // runs on others waits for that stream, and that stream for it, by `Streams`.
        unsafe { device.disable_event_tracking() };
        let stream = device.cuda_stream();
        let context = stream.context();
        keep_freed_memory(context)?;
        let (major, minor) = context.compute_capability().map_err(|error| failed("capability", error))?;
        let kernels = kernels.on(major);
        let multiprocessors = context
            .attribute(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)
            .map_err(|error| failed("multiprocessors", error))?;
        let architecture = format!("compute_{major}{minor}");
        // Each takes seconds.
        let (single, half) = std::thread::scope(|scope| {
            let half = scope.spawn(|| compiled(Element::Bf16, &architecture));
            (compiled(Element::F32, &architecture), half.join())
        });
        let half = half.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let module = |ptx: String| -> Result<Arc<CudaModule>> {
            let names: Vec<String> = entries(&ptx).map(str::to_owned).collect();
            let asked = |error| failed("loading the kernels", error);
            let module = context.load_module(Ptx::from_src(ptx)).map_err(asked)?;
            // The driver loads a kernel's code when that is first asked for: now, for later another thread may record.
            for name in names {
                module.load_function(&name).map_err(asked)?;
            }
            Ok(module)
        };
        let streams = Arc::new(Streams::new(Arc::clone(&stream))?);
        Ok(Self {
            _device: device.clone(),
            modules: [module(single?)?, module(half?)?],
            functions: Mutex::default(),
            multiprocessors: usize::try_from(multiprocessors).unwrap_or(1),
            memory: Mutex::default(),
            is_recording: AtomicBool::new(false),
            manners: manners(major)?,
            #[cfg(feature = "cudnn")]
            convolutions: super::cudnn::Convolutions::new(&streams, kernels)?,
            #[cfg(not(feature = "cudnn"))]
            kernels,
            streams,
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
        let asked = |error| failed("profile", error);
        self.stream.synchronize().map_err(asked)?;
        profile::moved(kind, bytes);
        // On the device: the host takes longer to launch a small kernel than that to run.
        let stream = self.streams.active();
        let mark = || stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(asked);
        let start = mark()?;
        work()?;
        let end = mark()?;
        let seconds = f64::from(start.elapsed_ms(&end).map_err(asked)?) / 1e3;
        profile::took(kind, Duration::from_secs_f64(seconds.max(0.0)));
        Ok(())
    }

    /// # Safety
    /// As [`Backend::launch`].
    unsafe fn start(&self, launch: &Launch<'_>) -> Result<()> {
        let Loaded { function, .. } = self.loaded(launch.kernel, launch.lanes, launch.element)?;
        self.bind()?;
        // SAFETY: the caller's.
        unsafe { super::launch::launch(&function, launch, &self.streams.active(), self.streams.overlaps()) }
            .map_err(|error| failed(launch.name(), error))
    }

    fn loaded(&self, kernel: &'static str, lanes: Option<usize>, element: Element) -> Result<Loaded> {
        let key = (kernel, lanes, element);
        if let Some(loaded) = lock(&self.functions).get(&key) {
            return Ok(loaded.clone());
        }
        let name = kernel_name(kernel, lanes);
        let asked = |error| failed(&name, error);
        let module = &self.modules[usize::from(element == Element::Bf16)];
        self.bind()?;
        let function = module.load_function(&name).map_err(asked)?;
        let blocks = function
            .occupancy_max_active_blocks_per_multiprocessor(THREADS as u32, 0, None)
            .map_err(asked)?;
        let loaded = Loaded { function, at_a_time: (blocks as usize * self.multiprocessors).max(1) };
        lock(&self.functions).insert(key, loaded.clone());
        Ok(loaded)
    }
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

    fn timed(&self) -> Result<Elapsed> {
        let asked = |error| failed("timing a graph", error);
        let stream = self.streams.active();
        let mark = || stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(asked);
        let start = mark()?;
        self.replay()?;
        let end = mark()?;
        Ok(Box::new(move || start.elapsed_ms(&end).map_err(asked)))
    }
}

impl Backend for Cuda {
    fn allocate(&self, bytes: usize) -> Result<u64> {
        if self.is_recording.load(Ordering::Relaxed) {
            return Err(failed("recording", "memory is missing"));
        }
        // SAFETY: every bit pattern is a valid byte; readers write first.
        let slice = unsafe { self.stream.alloc::<u8>(bytes) };
        let slice = slice.map_err(|error| {
            let asked = format!("allocating {} KiB{}", bytes.div_ceil(1024), memory::there());
            failed(asked, error)
        })?;
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

    fn at_a_time(&self, kernel: &'static str, lanes: Option<usize>, element: Element) -> Result<usize> {
        Ok(self.loaded(kernel, lanes, element)?.at_a_time)
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
                if plan.is_fused() {
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
            if self.kernels.has_own() && implicit_gemm::fits(call) {
                implicit_gemm::run(arena, call)
            } else {
                super::convolution::direct(self, call)
            }
        }
    }

    fn manners(&self) -> &'static [Manner] {
        if profile::is_enabled() { &[] } else { self.manners }
    }

    fn record(&self, manner: Manner, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        let _recording = quiet::recording();
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.stream.begin_capture(mode).map_err(|error| failed("recording", error))?;
        self.is_recording.store(true, Ordering::Relaxed);
        // What was dropped meanwhile may have left an error, which would keep the capture from being ended.
        let ended = self.streams.recorded(manner, work).and(self.bind());
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

    fn aside(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<bool> {
        self.streams.aside(work)?;
        // A pass that is not recorded reserves the memory of those that are.
        Ok(self.streams.branches() || !self.is_recording.load(Ordering::Relaxed))
    }

    fn rejoin(&self) -> Result<()> {
        self.streams.rejoin()
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
