//! Convolutions by the engines of cuDNN's graph API, some of which its older calls do not have.

mod operations;
#[cfg(test)]
mod tests;

use std::ffi::c_void;
use std::fmt;

use candle_core::cuda::cudarc::cudnn::sys::{
    self, cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type,
    cudnnBackendBehaviorNote_t as Behaviour, cudnnBackendDescriptor_t,
    cudnnBackendDescriptorType_t as Descriptor, cudnnBackendHeurMode_t, cudnnBackendNumericalNote_t as Note,
    cudnnHandle_t,
};

use operations::{IDS, operations};

use super::super::kernels::Kernels;
use super::descriptor::{Builder, get, made, one};
use super::plan::{Answer, Memory, WITH_EPILOGUE, WORKSPACE};
use super::{Key, Kind};

/// Configurations that cuDNN is asked to name: as many as PyTorch tries.
const CONFIGURATIONS: usize = 10;

/// What engines are built for.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// The device of a handle, on which they can run.
    Handle(cudnnHandle_t),
    /// A device that need not be there, by a finished description of it.
    #[cfg(test)]
    Described(cudnnBackendDescriptor_t),
}

impl Target {
    unsafe fn of_graph(self, graph: Builder) -> Answer<Builder> {
        match self {
            // SAFETY: the attribute has its own type.
            Self::Handle(handle) => unsafe {
                graph.set(Name::CUDNN_ATTR_OPERATIONGRAPH_HANDLE, Type::CUDNN_TYPE_HANDLE, &[handle])
            },
            #[cfg(test)]
            Self::Described(_) => Ok(graph),
        }
    }

    unsafe fn of_heuristics(self, heuristics: Builder) -> Answer<Builder> {
        match self {
            Self::Handle(_) => Ok(heuristics),
            #[cfg(test)]
            // SAFETY: it is a finished descriptor.
            Self::Described(device) => unsafe {
                heuristics.part(Name::CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device)
            },
        }
    }

    unsafe fn of_plan(self, plan: Builder) -> Answer<Builder> {
        match self {
            // SAFETY: the attribute has its own type.
            Self::Handle(handle) => unsafe {
                plan.set(Name::CUDNN_ATTR_EXECUTION_PLAN_HANDLE, Type::CUDNN_TYPE_HANDLE, &[handle])
            },
            #[cfg(test)]
            // SAFETY: it is a finished descriptor.
            Self::Described(device) => unsafe {
                plan.part(Name::CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device)
            },
        }
    }
}

/// An engine in one configuration, ready to run. It lives as long as the process.
#[derive(Clone, Copy)]
pub(super) struct Engine {
    plan: cudnnBackendDescriptor_t,
    /// Bytes that it needs.
    pub(super) workspace: usize,
    name: EngineName,
}

/// The number that cuDNN gives an engine among those for such a graph, and which it is, from 1, of those configurations of it
/// that cuDNN names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EngineName {
    index: i64,
    configuration: usize,
    /// Whether the graph has the call's epilogue too.
    is_fused: bool,
}

impl fmt::Display for EngineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let epilogue = if self.is_fused { WITH_EPILOGUE } else { "" };
        write!(f, "engine {}, configuration {}{epilogue}", self.index, self.configuration)
    }
}

impl Engine {
    pub(super) fn name(&self) -> EngineName {
        self.name
    }

    /// Whether it does the epilogue too.
    pub(super) fn is_fused(&self) -> bool {
        self.name.is_fused
    }

    /// The engines for `key` whose names are `wanted`, in the order in which cuDNN expects them to be fast: those that give the
    /// same bits each time (but for [`Kernels::Any`]), sum in f32 and are compiled already. Those for a folded norm do all of it;
    /// where there is none, its epilogue is left to a pass behind them.
    ///
    /// # Errors
    /// Where cuDNN has none for such graphs, or fails.
    ///
    /// # Safety
    /// A handle must be alive, as long as the engines are used.
    pub(super) unsafe fn all(
        target: Target,
        key: Key,
        wanted: impl Fn(EngineName) -> bool,
    ) -> Answer<Vec<Self>> {
        if key.kind == Kind::Folded {
            // SAFETY: the caller's.
            let fused = unsafe { Self::of_graph(target, key, true, &wanted) };
            if let Ok(engines) = fused
                && !engines.is_empty()
            {
                return Ok(engines);
            }
        }
        // SAFETY: the caller's.
        unsafe { Self::of_graph(target, key, false, &wanted) }
    }

    /// Those that compute the sum alone, or its epilogue too.
    unsafe fn of_graph(
        target: Target,
        key: Key,
        is_fused: bool,
        wanted: &impl Fn(EngineName) -> bool,
    ) -> Answer<Vec<Self>> {
        let (mut engines, mut met, mut failure) = (Vec::new(), Vec::new(), None);
        // SAFETY: the caller's; descriptors are finished before they are used.
        unsafe {
            for configuration in configurations(target, &operations(key, is_fused)?, key.rounds())? {
                let part = made(Descriptor::CUDNN_BACKEND_ENGINE_DESCRIPTOR)?;
                let engine = one(
                    configuration,
                    Name::CUDNN_ATTR_ENGINECFG_ENGINE,
                    Type::CUDNN_TYPE_BACKEND_DESCRIPTOR,
                    part,
                )?;
                let index = one(engine, Name::CUDNN_ATTR_ENGINE_GLOBAL_INDEX, Type::CUDNN_TYPE_INT64, 0_i64)?;
                met.push(index);
                let configuration_of_it = met.iter().filter(|&&other| other == index).count();
                let name = EngineName { index, configuration: configuration_of_it, is_fused };
                if !wanted(name) || !is_fit(engine, key)? {
                    continue;
                }
                let plan = Builder::new(Descriptor::CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR)?;
                let plan = target
                    .of_plan(plan)?
                    .part(Name::CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration)?
                    .finish();
                let plan = match plan {
                    Ok(plan) => plan,
                    Err(error) => {
                        failure = failure.or(Some(error));
                        continue;
                    }
                };
                let workspace =
                    one(plan, Name::CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, Type::CUDNN_TYPE_INT64, 0_i64)?;
                let workspace = usize::try_from(workspace).unwrap_or(usize::MAX);
                if workspace <= WORKSPACE {
                    engines.push(Self { plan, workspace, name });
                }
            }
        }
        match failure {
            Some(error) if engines.is_empty() => Err(error),
            _ => Ok(engines),
        }
    }

    /// Launches one member's part of a call.
    ///
    /// # Safety
    /// As `Backend::convolve`, with a workspace of the engine's size, on the handle that it was made for.
    pub(super) unsafe fn run(
        &self,
        handle: cudnnHandle_t,
        memory: &Memory,
        workspace: *mut c_void,
    ) -> Answer<()> {
        let at = |address: u64| address as *mut c_void;
        let parts = match (self.is_fused(), memory.skip) {
            (false, _) => 3,
            (true, 0) => 4,
            (true, _) => 5,
        };
        let addresses = [memory.input, memory.weight, memory.output, memory.bias, memory.skip].map(at);
        // SAFETY: the caller's; a finished pack may go once the work that it names is given to the device.
        unsafe {
            let pack = Builder::new(Descriptor::CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR)?
                .set(Name::CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, Type::CUDNN_TYPE_INT64, &IDS[..parts])?
                .set(
                    Name::CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS,
                    Type::CUDNN_TYPE_VOID_PTR,
                    &addresses[..parts],
                )?
                .set(Name::CUDNN_ATTR_VARIANT_PACK_WORKSPACE, Type::CUDNN_TYPE_VOID_PTR, &[workspace])?
                .finish()?;
            let given = sys::cudnnBackendExecute(handle, self.plan, pack).result();
            sys::cudnnBackendDestroyDescriptor(pack).result()?;
            given
        }
    }
}

/// What cuDNN's heuristics name for a graph of `operations`: where factors may be rounded, what they expect to be fast, which is
/// mostly on tensor cores; otherwise what can be had for every graph.
unsafe fn configurations(
    target: Target,
    operations: &[cudnnBackendDescriptor_t],
    rounds: bool,
) -> Answer<Vec<cudnnBackendDescriptor_t>> {
    let mode = match rounds {
        true => cudnnBackendHeurMode_t::CUDNN_HEUR_MODE_A,
        false => cudnnBackendHeurMode_t::CUDNN_HEUR_MODE_FALLBACK,
    };
    // SAFETY: each attribute has its own type.
    unsafe {
        let graph = target
            .of_graph(Builder::new(Descriptor::CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR)?)?
            .set(Name::CUDNN_ATTR_OPERATIONGRAPH_OPS, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, operations)?
            .finish()?;
        let heuristics = target
            .of_heuristics(Builder::new(Descriptor::CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR)?)?
            .part(Name::CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)?
            .set(Name::CUDNN_ATTR_ENGINEHEUR_MODE, Type::CUDNN_TYPE_HEUR_MODE, &[mode])?
            .finish()?;
        let mut room = [std::ptr::null_mut(); CONFIGURATIONS];
        for place in &mut room {
            *place = made(Descriptor::CUDNN_BACKEND_ENGINECFG_DESCRIPTOR)?;
        }
        get(heuristics, Name::CUDNN_ATTR_ENGINEHEUR_RESULTS, Type::CUDNN_TYPE_BACKEND_DESCRIPTOR, room)
    }
}

/// Whether an engine gives the same bits each time (but for [`Kernels::Any`]), takes factors as they are unless they may be
/// rounded (tensor cores round those in f32 to TF32), sums in f32, transforms nothing, and is compiled already.
unsafe fn is_fit(engine: cudnnBackendDescriptor_t, key: Key) -> Answer<bool> {
    const VARIES: Note = Note::CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC;
    const ROUNDS: [Note; 2] =
        [Note::CUDNN_NUMERICAL_NOTE_TENSOR_CORE, Note::CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS];
    const UNFIT: [Note; 6] = [
        Note::CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION,
        Note::CUDNN_NUMERICAL_NOTE_FFT,
        Note::CUDNN_NUMERICAL_NOTE_WINOGRAD,
        Note::CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4,
        Note::CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6,
        Note::CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13,
    ];
    const IS_COMPILED_WHEN_BUILT: u32 = Behaviour::CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION as u32;
    // SAFETY: notes are read as numbers: a newer cuDNN may have others.
    let (numerical, behaviour) = unsafe {
        let numerical = [0_u32; Note::CUDNN_NUMERICAL_NOTE_TYPE_COUNT as usize];
        let behaviour = [0_u32; Behaviour::CUDNN_BEHAVIOR_NOTE_TYPE_COUNT as usize];
        (
            get(engine, Name::CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, Type::CUDNN_TYPE_NUMERICAL_NOTE, numerical)?,
            get(engine, Name::CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, Type::CUDNN_TYPE_BEHAVIOR_NOTE, behaviour)?,
        )
    };
    let has = |note: &Note| numerical.contains(&(*note as u32));
    Ok(!UNFIT.iter().any(has)
        && (key.kernels == Kernels::Any || !has(&VARIES))
        && (key.rounds() || !ROUNDS.iter().any(has))
        && !behaviour.contains(&IS_COMPILED_WHEN_BUILT))
}
