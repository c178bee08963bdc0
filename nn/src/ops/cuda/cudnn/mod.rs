//! Convolutions by cuDNN, channels last: descriptors, algorithm and workspace are looked up once for each shape; and whether
//! it or a kernel of our own computes them.

mod plan;
mod timing;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use candle_core::cuda::cudarc::cudnn::result::{self as dnn, CudnnError};
use candle_core::cuda::cudarc::cudnn::sys::cudnnHandle_t;
use candle_core::cuda::cudarc::driver::CudaStream;
use plan::Plan;
use timing::{NEARLY, Timer};

use super::Element;
use super::backend::Arena;
use super::convolution::{Call, Pass};
use super::device::{failed, lock};
use super::implicit_gemm;
use super::kernels::{Kernels, Timed, note};
use super::quiet;
use crate::error::Result;
use crate::ops::cpu::geometry::ConvShape;
use crate::precision::Precision;

/// What a way is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    kernels: Kernels,
    kind: Kind,
    /// Whether what is computed is added to something.
    adds: bool,
    shape: ConvShape,
    element: Element,
    tf32: bool,
    members: usize,
    batch: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Forward,
    /// With the call's epilogue.
    Folded,
    Data,
    Filter,
}

/// How a call is computed.
#[derive(Clone, Copy)]
pub(super) enum Way {
    /// By cuDNN.
    Library(Plan),
    /// By the kernels of implicit_gemm.cu.
    TensorCores,
    /// By the kernels of direct.cu.
    Plain,
}

// SAFETY: descriptors are read alone once they are set, which any number of threads may do.
unsafe impl Send for Way {}

/// How calls are computed on a device of that name: the same for all runs of the process, whichever measured it.
static WAYS: LazyLock<Mutex<HashMap<String, HashMap<Key, Way>>>> = LazyLock::new(Mutex::default);

/// A handle.
struct Library {
    handle: cudnnHandle_t,
    stream: Arc<CudaStream>,
    /// The device's name.
    device: String,
}

// SAFETY: the handle is used under the mutex of `Convolutions` alone; cuDNN allows any one thread at a time.
unsafe impl Send for Library {}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: nobody has the handle any more.
        let _ = unsafe { dnn::destroy_handle(self.handle) };
    }
}

/// cuDNN on one stream, and when it is taken.
pub(super) struct Convolutions {
    library: Mutex<Library>,
    kernels: Kernels,
}

impl Convolutions {
    pub(super) fn new(stream: &Arc<CudaStream>, kernels: Kernels) -> Result<Self> {
        let handle = dnn::create_handle().map_err(|error| failed("opening cuDNN", error))?;
        // SAFETY: both are alive.
        unsafe { dnn::set_stream(handle, stream.cu_stream().cast()) }
            .map_err(|error| failed("opening cuDNN", error))?;
        let device = stream.context().name().map_err(|error| failed("name", error))?;
        let library = Library { handle, stream: Arc::clone(stream), device };
        Ok(Self { library: Mutex::new(library), kernels })
    }

    /// How to compute `call`: looked up, and measured where such a call is first met.
    ///
    /// # Errors
    /// Where that is while passes are recorded.
    pub(super) fn way(&self, arena: &Arena, call: &Call, is_recording: bool) -> Result<Way> {
        let key = Key::new(call, self.kernels);
        let library = self.library();
        if let Some(way) = library.known(&key) {
            return Ok(way);
        }
        if is_recording {
            return Err(failed("recording", format!("{} was never run", describe(call))));
        }
        let _nobody_records = quiet::alone();
        // Another thread may have been first.
        if let Some(way) = library.known(&key) {
            return Ok(way);
        }
        let way = library.measured(arena, call, key)?;
        lock(&WAYS).entry(library.device.clone()).or_default().insert(key, way);
        Ok(way)
    }

    /// Runs the call by cuDNN, but for an epilogue that the plan has not fused.
    ///
    /// # Safety
    /// As `Backend::convolve`.
    pub(super) unsafe fn run(&self, arena: &Arena, plan: &Plan, call: &Call) -> Result<()> {
        let workspace = arena.take(plan.workspace_room())?;
        // SAFETY: the caller's.
        unsafe { plan.run_members(self.library().handle, call, workspace.at()) }
            .map_err(|error| failed(describe(call), error))
    }

    fn library(&self) -> MutexGuard<'_, Library> {
        lock(&self.library)
    }
}

/// Whether a status is one of those (3000 and up) that say that cuDNN has no way to compute this.
fn is_not_supported(CudnnError(status): CudnnError) -> bool {
    status as u32 / 1000 == 3
}

/// Whether a status is one of the two (4003, 4004) that say that memory is missing.
fn is_out_of_memory(CudnnError(status): CudnnError) -> bool {
    matches!(status as u32, 4003 | 4004)
}

fn describe(call: &Call) -> String {
    let ConvShape { channels_in, channels_out, kernel, stride, height, width } = call.shape;
    let pass = match call.pass {
        Pass::Forward if call.skip_bytes() > 0 => "forward, folded with a shortcut",
        Pass::Forward if call.epilogue.is_some() => "forward, folded",
        Pass::Forward => "forward",
        Pass::Data { accumulate: true } => "by input, added",
        Pass::Data { accumulate: false } => "by input",
        Pass::Filter => "by weight",
    };
    let (members, batch) = (call.members, call.batch);
    let precision = match call.element {
        Element::Bf16 => Precision::Bf16,
        Element::F32 if call.tf32 => Precision::Tf32,
        Element::F32 => Precision::F32,
    };
    format!(
        "convolution {pass}, {precision}: {members} x {batch} x {channels_in} x {height} x {width} to {channels_out}, kernel \
         {kernel}, stride {stride}"
    )
}

impl Key {
    fn new(call: &Call, kernels: Kernels) -> Self {
        let kind = match call.pass {
            Pass::Forward if call.epilogue.is_some() => Kind::Folded,
            Pass::Forward => Kind::Forward,
            Pass::Data { .. } => Kind::Data,
            Pass::Filter => Kind::Filter,
        };
        let adds = matches!(call.pass, Pass::Data { accumulate: true }) || call.skip_bytes() > 0;
        let Call { shape, element, tf32, members, batch, .. } = *call;
        Self { kernels, kind, adds, shape, element, tf32, members, batch }
    }
}

impl Library {
    fn known(&self, key: &Key) -> Option<Way> {
        lock(&WAYS).get(&self.device)?.get(key).copied()
    }

    /// In f32 it is cuDNN's own first choice, which is the same in every process; in the coarser precisions the fastest of
    /// the kernels for tensor cores and of those that it offers, by measurement. A plain kernel, after a line that says so, where
    /// cuDNN has no deterministic algorithm for these channels-last maps: it is slow and no reason to stop.
    fn measured(&self, arena: &Arena, call: &Call, key: Key) -> Result<Way> {
        let has_own = key.kernels != Kernels::Library && implicit_gemm::fits(call);
        if has_own && key.kernels == Kernels::Own {
            return Ok(Way::TensorCores);
        }
        // SAFETY: the handle is alive, descriptors are set before they are used.
        let plans = match unsafe { Plan::all(self.handle, key) } {
            Ok(plans) => plans,
            Err(error) if is_not_supported(error) => Vec::new(),
            Err(error) => return Err(failed(describe(call), error)),
        };
        let timer = Timer::new(self.handle, &self.stream, arena, call)?;
        let is_fixed = key.element == Element::F32 && !key.tf32;
        if is_fixed {
            return Ok(timer.first(&plans)?.map_or_else(|| plain(call), Way::Library));
        }
        match timer.fastest(&plans)? {
            None if has_own => Ok(Way::TensorCores),
            None => Ok(plain(call)),
            Some((library, plan)) if has_own => {
                let own = timer.own()?;
                note(Timed { what: describe(call), library, own });
                Ok(if own <= NEARLY * library { Way::TensorCores } else { Way::Library(plan) })
            }
            Some((_, plan)) => Ok(Way::Library(plan)),
        }
    }
}

fn plain(call: &Call) -> Way {
    eprintln!("{}: no deterministic algorithm; a plain kernel takes its place, slowly", describe(call));
    Way::Plain
}
