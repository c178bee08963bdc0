//! Convolutions by cuDNN, channels last: descriptors, algorithm and workspace are looked up once for each shape; and whether
//! it or a kernel of our own computes them.

mod descriptor;
mod graph;
mod plan;
mod spread;
mod timing;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};

use candle_core::cuda::cudarc::cudnn::result::{self as dnn, CudnnError};
use candle_core::cuda::cudarc::cudnn::sys::cudnnHandle_t;
use plan::Plan;
use spread::Spread;
use timing::{NEARLY, Timer};

use super::Element;
use super::backend::Arena;
use super::convolution::{Call, Pass};
use super::device::{failed, lock};
use super::implicit_gemm;
use super::kernels::{Kernels, Timed, note};
use super::open::described;
use super::quiet;
use super::streams::Streams;
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

/// How the convolutions of a run are computed, in words: for each what computes it, and for [`DEVICE`] where that was chosen.
pub type Ways = BTreeMap<String, String>;

/// The entry of [`Ways`] with the device's name and the versions of its libraries, which alone can compute them so again.
const DEVICE: &str = "device";

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

/// The names of the ways in which calls are computed on such a device: the same for all runs that the process begins, whichever
/// measured them.
static WAYS: LazyLock<Mutex<HashMap<String, HashMap<Key, String>>>> = LazyLock::new(Mutex::default);

/// A handle.
struct Library {
    handle: cudnnHandle_t,
    spread: Spread,
    /// The device's name and versions.
    device: String,
    /// What the run that goes on has been computed by so far.
    kept: Ways,
    /// What the run is computed by.
    taken: HashMap<Key, Way>,
    /// What there is on this handle, by its name.
    made: HashMap<(Key, String), Way>,
}

// SAFETY: the handle, and descriptors that were made on it, are used under the mutex of `Convolutions` alone; cuDNN allows any one
// thread at a time.
unsafe impl Send for Library {}

impl Drop for Library {
    fn drop(&mut self) {
        // SAFETY: nobody has the handle any more.
        let _ = unsafe { dnn::destroy_handle(self.handle) };
    }
}

/// cuDNN on a device's streams, and when it is taken.
pub(super) struct Convolutions {
    library: Mutex<Library>,
    kernels: Kernels,
}

impl Convolutions {
    pub(super) fn new(streams: &Arc<Streams>, kernels: Kernels) -> Result<Self> {
        let handle = dnn::create_handle().map_err(|error| failed("opening cuDNN", error))?;
        let spread = Spread::new(streams)?;
        let device = described(spread.active().context())?;
        let (kept, taken, made) = (Ways::new(), HashMap::new(), HashMap::new());
        let library = Library { handle, spread, device, kept, taken, made };
        Ok(Self { library: Mutex::new(library), kernels })
    }

    /// How to compute `call`: looked up, and measured where such a call is first met.
    ///
    /// # Errors
    /// Where that is while passes are recorded.
    pub(super) fn way(&self, arena: &Arena, call: &Call, is_recording: bool) -> Result<Way> {
        let key = Key::new(call, self.kernels);
        let mut library = self.library();
        if let Some(way) = library.taken.get(&key) {
            return Ok(*way);
        }
        let way = library.find(arena, call, key, is_recording)?;
        library.taken.insert(key, way);
        Ok(way)
    }

    /// What the run is computed by so far, and what it was before where it has not come to that again.
    pub(super) fn ways(&self) -> Ways {
        let library = self.library();
        let mut ways = library.kept.clone();
        ways.insert(DEVICE.to_owned(), library.device.clone());
        ways.extend(library.taken.iter().map(|(key, way)| (key.to_string(), way.to_string())));
        ways
    }

    /// A run begins that is computed by `kept` where that was chosen on such a device, and otherwise by what is fastest.
    pub(super) fn set_ways(&self, kept: &Ways) {
        let mut library = self.library();
        let is_of_this = kept.get(DEVICE) == Some(&library.device);
        library.kept = if is_of_this { kept.clone() } else { Ways::new() };
        library.taken.clear();
    }

    /// Runs the call by cuDNN, but for an epilogue that the plan has not fused.
    ///
    /// # Safety
    /// As `Backend::convolve`.
    pub(super) unsafe fn run(&self, arena: &Arena, plan: &Plan, call: &Call) -> Result<()> {
        let library = self.library();
        // SAFETY: the handle is alive; the call is the caller's.
        unsafe { plan.run_members(library.handle, &library.spread, arena, call)? }
            .map_err(|error| failed(Key::new(call, self.kernels), error))
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

    /// Whether factors may be rounded, so that there are several ways.
    fn rounds(&self) -> bool {
        self.element == Element::Bf16 || self.tf32
    }
}

/// In words, which name it in a checkpoint.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pass = match (self.kind, self.adds) {
            (Kind::Folded, true) => "forward, folded with a shortcut",
            (Kind::Folded, false) => "forward, folded",
            (Kind::Forward, _) => "forward",
            (Kind::Data, true) => "by input, added",
            (Kind::Data, false) => "by input",
            (Kind::Filter, _) => "by weight",
        };
        let precision = match self.element {
            Element::Bf16 => Precision::Bf16,
            Element::F32 if self.tf32 => Precision::Tf32,
            Element::F32 => Precision::F32,
        };
        let Self { members, batch, .. } = self;
        let ConvShape { channels_in, channels_out, kernel, stride, height, width } = self.shape;
        write!(
            f,
            "convolution {pass}, {precision}: {members} x {batch} x {channels_in} x {height} x {width} to {channels_out}, \
             kernel {kernel}, stride {stride}"
        )
    }
}

/// In words, which name it in a checkpoint.
impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Library(plan) => plan.fmt(f),
            Way::TensorCores => f.write_str("tensor cores"),
            Way::Plain => f.write_str("plain"),
        }
    }
}

impl Library {
    /// What the run that goes on was computed by; else what another run of the process is; else what is measured.
    fn find(&mut self, arena: &Arena, call: &Call, key: Key, is_recording: bool) -> Result<Way> {
        // The environment's wish comes first.
        let is_free = match key.kernels {
            Kernels::Fastest => true,
            Kernels::Own | Kernels::Library => !implicit_gemm::fits(call),
            Kernels::Engines => !key.rounds(),
            Kernels::Any => false,
        };
        let kept = self.kept.get(&key.to_string()).filter(|_| is_free).cloned();
        if let Some(name) = kept.clone().or_else(|| self.known(&key))
            && let Some(way) = self.made.get(&(key, name))
        {
            return Ok(*way);
        }
        if is_recording {
            return Err(failed("recording", format!("{key} was never run")));
        }
        let _nobody_records = quiet::alone();
        let way = match &kept {
            Some(name) => self.named(arena, call, key, name)?,
            None => None,
        };
        if let (Some(kept), None) = (&kept, way) {
            eprintln!(
                "{key}: `{kept}`, which computed it before, is not to be had; what follows has other bits"
            );
        }
        // Another thread may have been first.
        let way = match (way, self.known(&key)) {
            (None, Some(name)) => self.named(arena, call, key, &name)?,
            (way, _) => way,
        };
        let way = match way {
            Some(way) => way,
            None => {
                let way = self.measured(arena, call, key)?;
                lock(&WAYS).entry(self.device.clone()).or_default().insert(key, way.to_string());
                way
            }
        };
        self.made.insert((key, way.to_string()), way);
        Ok(way)
    }

    fn known(&self, key: &Key) -> Option<String> {
        lock(&WAYS).get(&self.device)?.get(key).cloned()
    }

    /// The way of that name, where there is one.
    fn named(&self, arena: &Arena, call: &Call, key: Key, name: &str) -> Result<Option<Way>> {
        let mut ways = vec![Way::Plain];
        ways.extend(implicit_gemm::fits(call).then_some(Way::TensorCores));
        if let Some(way) = ways.into_iter().find(|way| way.to_string() == name) {
            return Ok(Some(way));
        }
        let plans = self.plans(key, Some(name))?;
        let plan = Timer::new(self.handle, &self.spread, arena, call)?.first(&plans)?;
        Ok(plan.map(Way::Library))
    }

    /// What cuDNN offers, or that of it which has this name.
    fn plans(&self, key: Key, name: Option<&str>) -> Result<Vec<Plan>> {
        // SAFETY: the handle is alive, descriptors are set before they are used.
        match unsafe { Plan::all(self.handle, key, name) } {
            Err(error) if is_not_supported(error) => Ok(Vec::new()),
            plans => plans.map_err(|error| failed(key, error)),
        }
    }

    /// In f32 it is cuDNN's own first choice, which is the same in every process (but for [`Kernels::Any`]); in the coarser
    /// precisions the fastest of
    /// the kernels for tensor cores and of those that it offers, by measurement. A plain kernel, after a line that says so, where
    /// cuDNN has no deterministic algorithm for these channels-last maps: it is slow and no reason to stop.
    fn measured(&self, arena: &Arena, call: &Call, key: Key) -> Result<Way> {
        let has_own = key.kernels.has_own() && implicit_gemm::fits(call);
        if has_own && key.kernels == Kernels::Own {
            return Ok(Way::TensorCores);
        }
        let plans = self.plans(key, None)?;
        let timer = Timer::new(self.handle, &self.spread, arena, call)?;
        if !key.rounds() && key.kernels != Kernels::Any {
            return Ok(timer.first(&plans)?.map_or_else(|| plain(key), Way::Library));
        }
        match timer.fastest(&plans)? {
            None if has_own => Ok(Way::TensorCores),
            None => Ok(plain(key)),
            Some((library, plan)) => {
                let own = if has_own { Some(timer.own()?) } else { None };
                let is_own = own.is_some_and(|own| own <= NEARLY * library);
                note(Timed { what: key.to_string(), library, by: plan.to_string(), own, is_own });
                Ok(if is_own { Way::TensorCores } else { Way::Library(plan) })
            }
        }
    }
}

fn plain(key: Key) -> Way {
    let kind = if key.kernels == Kernels::Any { "" } else { "deterministic " };
    eprintln!("{key}: no {kind}algorithm; a plain kernel takes its place, slowly");
    Way::Plain
}
