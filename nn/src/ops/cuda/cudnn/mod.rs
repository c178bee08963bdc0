//! Convolutions by cuDNN, channels last: descriptors, algorithm and workspace are looked up once for each shape.

mod plan;
mod timing;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda::cudarc::cudnn::result::{self as dnn, CudnnError};
use candle_core::cuda::cudarc::cudnn::sys::cudnnHandle_t;
use candle_core::cuda::cudarc::driver::CudaStream;
use plan::{Memory, Plan};
use timing::Timer;

use super::Element;
use super::backend::Arena;
use super::convolution::{Call, Pass};
use super::device::failed;
use crate::error::Result;
use crate::ops::cpu::geometry::ConvShape;

/// What a plan is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    shape: ConvShape,
    element: Element,
    tf32: bool,
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

/// A handle and the plans so far. They live as long as the process.
struct Library {
    handle: cudnnHandle_t,
    stream: Arc<CudaStream>,
    /// `None` for what cuDNN has no plan for.
    plans: HashMap<Key, Option<Plan>>,
}

/// What cuDNN has done of a call.
pub(super) enum Done {
    All,
    /// The epilogue is left to do.
    ButEpilogue,
    Nothing,
}

// SAFETY: handle and descriptors are used under the mutex of `Convolutions` alone; cuDNN allows any one thread at a time.
unsafe impl Send for Library {}

/// cuDNN on one stream.
pub(super) struct Convolutions(Mutex<Library>);

impl Convolutions {
    pub(super) fn new(stream: &Arc<CudaStream>) -> Result<Self> {
        let handle = dnn::create_handle().map_err(|error| failed("opening cuDNN", error))?;
        // SAFETY: both are alive.
        unsafe { dnn::set_stream(handle, stream.cu_stream().cast()) }
            .map_err(|error| failed("opening cuDNN", error))?;
        Ok(Self(Mutex::new(Library { handle, stream: Arc::clone(stream), plans: HashMap::new() })))
    }

    /// Runs the call, a member after the other, where cuDNN has a way to.
    ///
    /// # Safety
    /// As `Backend::convolve`.
    pub(super) unsafe fn run(&self, arena: &Arena, call: &Call) -> Result<Done> {
        let mut library = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(plan) = library.plan(arena, call)? else { return Ok(Done::Nothing) };
        let workspace = arena.take(plan.workspace)?;
        for member in 0..call.members {
            // SAFETY: the caller's; each member's rows and weights lie within the call's.
            unsafe { plan.run(library.handle, &Memory::of(call, member), workspace.at()) }
                .map_err(|error| failed(describe(call), error))?;
        }
        Ok(if plan.is_fused || call.epilogue.is_none() { Done::All } else { Done::ButEpilogue })
    }
}

/// Whether a status is one of those (3000 and up) that say that cuDNN has no way to compute this.
fn is_not_supported(CudnnError(status): CudnnError) -> bool {
    status as u32 / 1000 == 3
}

fn describe(call: &Call) -> String {
    let ConvShape { channels_in, channels_out, kernel, stride, height, width } = call.shape;
    let (pass, element, batch) = (call.pass, call.element, call.batch);
    format!(
        "cuDNN {pass:?} {element:?}: {batch} x {channels_in} x {height} x {width} to {channels_out}, \
         kernel {kernel}, stride {stride}"
    )
}

impl Library {
    /// The plan of a call. In f32 it is cuDNN's own first choice, which is the same in every process; in the coarser
    /// precisions the fastest of those that it offers, by measurement. `None`, after a line that says so, where it has no
    /// deterministic one for these channels-last maps: a kernel of our own is slow and no reason to stop.
    fn plan(&mut self, arena: &Arena, call: &Call) -> Result<Option<Plan>> {
        let kind = match call.pass {
            Pass::Forward if call.epilogue.is_some() => Kind::Folded,
            Pass::Forward => Kind::Forward,
            Pass::Data { .. } => Kind::Data,
            Pass::Filter => Kind::Filter,
        };
        let Call { shape, element, tf32, batch, .. } = *call;
        let key = Key { kind, shape, element, tf32, batch };
        if let Some(plan) = self.plans.get(&key) {
            return Ok(*plan);
        }
        // SAFETY: the handle is alive, descriptors are set before they are used.
        let plans = match unsafe { Plan::all(self.handle, key) } {
            Ok(plans) => plans,
            Err(error) if is_not_supported(error) => Vec::new(),
            Err(error) => return Err(failed(describe(call), error)),
        };
        let timer = Timer { handle: self.handle, stream: &self.stream, arena };
        let is_fixed = element == Element::F32 && !tf32;
        let plan = timer.choose(call, &plans, is_fixed)?;
        if plan.is_none() {
            eprintln!(
                "{}: no deterministic algorithm; a plain kernel takes its place, slowly",
                describe(call)
            );
        }
        self.plans.insert(key, plan);
        Ok(plan)
    }
}
