//! Convolutions by cuDNN, channels last: descriptors, algorithm and workspace are looked up once for each shape; and whether
//! it or a kernel of our own computes them.

mod plan;
mod timing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::cuda::cudarc::cudnn::result::{self as dnn, CudnnError};
use candle_core::cuda::cudarc::cudnn::sys::cudnnHandle_t;
use candle_core::cuda::cudarc::driver::CudaStream;
use plan::Plan;
use timing::Timer;

use super::Element;
use super::backend::Arena;
use super::convolution::{Call, Pass};
use super::device::failed;
use super::implicit_gemm;
use super::kernels::{Kernels, Timed, note};
use crate::error::Result;
use crate::ops::cpu::geometry::ConvShape;
use crate::precision::Precision;

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
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

/// A handle, and how calls have been computed so far. They live as long as the process.
struct Library {
    handle: cudnnHandle_t,
    stream: Arc<CudaStream>,
    ways: HashMap<Key, Way>,
}

// SAFETY: handle and descriptors are used under the mutex of `Convolutions` alone; cuDNN allows any one thread at a time.
unsafe impl Send for Library {}

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
        let library = Library { handle, stream: Arc::clone(stream), ways: HashMap::new() };
        Ok(Self { library: Mutex::new(library), kernels })
    }

    /// How to compute `call`: looked up, and measured where such a call is first met.
    pub(super) fn way(&self, arena: &Arena, call: &Call) -> Result<Way> {
        self.library().way(arena, call, self.kernels)
    }

    /// Runs the call by cuDNN, but for an epilogue that the plan has not fused.
    ///
    /// # Safety
    /// As `Backend::convolve`.
    pub(super) unsafe fn run(&self, arena: &Arena, plan: &Plan, call: &Call) -> Result<()> {
        let workspace = arena.take(plan.workspace)?;
        // SAFETY: the caller's.
        unsafe { plan.run_members(self.library().handle, call, workspace.at()) }
            .map_err(|error| failed(describe(call), error))
    }

    fn library(&self) -> MutexGuard<'_, Library> {
        self.library.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a status is one of those (3000 and up) that say that cuDNN has no way to compute this.
fn is_not_supported(CudnnError(status): CudnnError) -> bool {
    status as u32 / 1000 == 3
}

fn describe(call: &Call) -> String {
    let ConvShape { channels_in, channels_out, kernel, stride, height, width } = call.shape;
    let pass = match call.pass {
        Pass::Forward if call.epilogue.is_some() => "forward, folded",
        Pass::Forward => "forward",
        Pass::Data { .. } => "by input",
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

impl Library {
    /// In f32 it is cuDNN's own first choice, which is the same in every process; in the coarser precisions the fastest of
    /// those that it offers and of the kernels for tensor cores, by measurement. A plain kernel, after a line that says so, where
    /// cuDNN has no deterministic algorithm for these channels-last maps: it is slow and no reason to stop.
    fn way(&mut self, arena: &Arena, call: &Call, kernels: Kernels) -> Result<Way> {
        let kind = match call.pass {
            Pass::Forward if call.epilogue.is_some() => Kind::Folded,
            Pass::Forward => Kind::Forward,
            Pass::Data { .. } => Kind::Data,
            Pass::Filter => Kind::Filter,
        };
        let Call { shape, element, tf32, members, batch, .. } = *call;
        let key = Key { kind, shape, element, tf32, members, batch };
        if let Some(way) = self.ways.get(&key) {
            return Ok(*way);
        }
        let way = self.measured(arena, call, key, kernels)?;
        self.ways.insert(key, way);
        Ok(way)
    }

    fn measured(&self, arena: &Arena, call: &Call, key: Key, kernels: Kernels) -> Result<Way> {
        let has_own = kernels != Kernels::Library && implicit_gemm::fits(call);
        if has_own && kernels == Kernels::Own {
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
        let Some(plan) = timer.choose(&plans, is_fixed)? else {
            if has_own {
                return Ok(Way::TensorCores);
            }
            eprintln!(
                "{}: no deterministic algorithm; a plain kernel takes its place, slowly",
                describe(call)
            );
            return Ok(Way::Plain);
        };
        if !has_own {
            return Ok(Way::Library(plan));
        }
        let [library, own] = timer.compare(&plan)?;
        note(Timed { what: describe(call), library, own });
        Ok(if own < library { Way::TensorCores } else { Way::Library(plan) })
    }
}
