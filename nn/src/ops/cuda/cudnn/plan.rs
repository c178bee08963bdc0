//! Ways to compute a convolution by cuDNN: the algorithms of its older calls, and the engines of its graph API.

use std::ffi::{c_int, c_void};
use std::fmt;
use std::sync::Once;

use candle_core::cuda::cudarc::cudnn::result::{self as dnn, CudnnError};
use candle_core::cuda::cudarc::cudnn::sys::{
    cudnnActivationDescriptor_t, cudnnActivationMode_t, cudnnConvolutionBwdDataAlgo_t,
    cudnnConvolutionBwdFilterAlgo_t, cudnnConvolutionDescriptor_t, cudnnConvolutionFwdAlgo_t,
    cudnnConvolutionMode_t, cudnnDataType_t, cudnnDeterminism_t, cudnnFilterDescriptor_t, cudnnHandle_t,
    cudnnMathType_t, cudnnNanPropagation_t, cudnnStatus_t, cudnnTensorDescriptor_t, cudnnTensorFormat_t,
};

use super::super::Element;
use super::super::backend::Arena;
use super::super::convolution::{Call, Pass};
use super::super::kernels::Kernels;
use super::graph::{Engine, EngineName, Target};
use super::spread::Spread;
use super::{Key, Kind, is_not_supported, is_out_of_memory};
use crate::error::Result;
use crate::ops::cpu::geometry::ConvShape;

/// Bytes of workspace that may be asked for.
pub(super) const WORKSPACE: usize = 1 << 30;
/// Algorithms that cuDNN is asked about at most, of each kind.
const ALGORITHMS: usize = 16;

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(cudnnConvolutionFwdAlgo_t),
    Data(cudnnConvolutionBwdDataAlgo_t),
    Filter(cudnnConvolutionBwdFilterAlgo_t),
    Engine(Engine),
}

/// Descriptors of one kind of pass at one shape.
#[derive(Clone, Copy)]
struct Shapes {
    input: cudnnTensorDescriptor_t,
    weight: cudnnFilterDescriptor_t,
    output: cudnnTensorDescriptor_t,
    bias: cudnnTensorDescriptor_t,
    /// Of each kind in [`RELUS`].
    relus: [cudnnActivationDescriptor_t; 2],
}

/// How plans are named by which cuDNN does the epilogue too.
pub(super) const WITH_EPILOGUE: &str = ", with its epilogue";

/// What becomes of a NaN in the ReLU of a fused call, and how plans are named by it: kept, as everywhere, or not. Versions of cuDNN
/// differ in which they take.
const RELUS: [(cudnnNanPropagation_t, &str); 2] = [
    (cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN, WITH_EPILOGUE),
    (cudnnNanPropagation_t::CUDNN_NOT_PROPAGATE_NAN, ", with its epilogue, which may lose a NaN"),
];

/// One way to compute it.
#[derive(Clone, Copy)]
pub(in crate::ops::cuda) struct Plan {
    shapes: Shapes,
    conv: cudnnConvolutionDescriptor_t,
    algorithm: Algorithm,
    math: cudnnMathType_t,
    workspace: usize,
    /// By which of the [`RELUS`] an algorithm does the epilogue too.
    fused: Option<usize>,
}

/// What one member's part of a call reads and writes.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub input: u64,
    pub weight: u64,
    pub output: u64,
    /// Of an epilogue.
    pub bias: u64,
    pub skip: u64,
    pub accumulate: bool,
}

impl Memory {
    pub(super) fn of(call: &Call, member: usize) -> Self {
        let bytes = call.element.bytes();
        let rows = (member * call.batch * call.output_len() * bytes) as u64;
        let epilogue = call.epilogue.as_ref();
        Self {
            input: call.member_input(member),
            weight: call.weight + (member * call.weights() * bytes) as u64,
            output: call.output + rows,
            bias: epilogue.map_or(0, |epilogue| epilogue.bias),
            skip: epilogue.map_or(0, |epilogue| if epilogue.skip == 0 { 0 } else { epilogue.skip + rows }),
            accumulate: matches!(call.pass, Pass::Data { accumulate: true }),
        }
    }
}

/// The algorithms that work, ask for no more than [`WORKSPACE`], sum up products of factors as they are and, but for
/// [`Kernels::Any`], give the same bits each time.
macro_rules! usable {
    ($found:expr, $count:expr, $kernels:expr, $kind:path) => {
        $found
            .iter()
            .take(usize::try_from($count).unwrap_or(0))
            .filter(|candidate| {
                candidate.status == cudnnStatus_t::CUDNN_STATUS_SUCCESS
                    && ($kernels == Kernels::Any
                        || candidate.determinism == cudnnDeterminism_t::CUDNN_DETERMINISTIC)
                    && candidate.memory <= WORKSPACE
                    && !transforms(&candidate.algo)
            })
            .map(|candidate| ($kind(candidate.algo), candidate.memory, candidate.mathType))
            .collect::<Vec<_>>()
    };
}

/// Whether an algorithm is by its name one of Fourier's or Winograd's, whose roundings are others.
fn transforms(algorithm: &impl fmt::Debug) -> bool {
    let name = format!("{algorithm:?}");
    ["FFT", "WINOGRAD"].iter().any(|form| name.contains(form))
}

pub(super) type Answer<T> = std::result::Result<T, CudnnError>;

impl Shapes {
    unsafe fn new(key: Key, data: cudnnDataType_t) -> Answer<Self> {
        let int = |value: usize| value as c_int;
        let (shape, batch) = (key.shape, int(key.batch));
        let (channels_in, channels_out, kernel) =
            (int(shape.channels_in), int(shape.channels_out), int(shape.kernel));
        let nhwc = cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let tensor = |dims| {
            let descriptor = dnn::create_tensor_descriptor()?;
            // SAFETY: it was just made.
            unsafe { dnn::set_tensor4d_descriptor(descriptor, nhwc, data, dims)? };
            Ok(descriptor)
        };
        let input = tensor([batch, channels_in, int(shape.height), int(shape.width)])?;
        let output = tensor([batch, channels_out, int(shape.out_height()), int(shape.out_width())])?;
        let bias = tensor([1, channels_out, 1, 1])?;
        let weight = dnn::create_filter_descriptor()?;
        // SAFETY: it was just made.
        unsafe {
            dnn::set_filter4d_descriptor(weight, data, nhwc, [channels_out, channels_in, kernel, kernel])?;
        }
        let relu = |nan| {
            let descriptor = dnn::create_activation_descriptor()?;
            let mode = cudnnActivationMode_t::CUDNN_ACTIVATION_RELU;
            // SAFETY: it was just made.
            unsafe { dnn::set_activation_descriptor(descriptor, mode, nan, 0.0)? };
            Ok(descriptor)
        };
        let relus = [relu(RELUS[0].0)?, relu(RELUS[1].0)?];
        Ok(Self { input, weight, output, bias, relus })
    }
}

/// In words, which name it among those for its key.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { algorithm, math, fused, .. } = self;
        match algorithm {
            Algorithm::Forward(algorithm) => write!(f, "{algorithm:?}, {math:?}")?,
            Algorithm::Data(algorithm) => write!(f, "{algorithm:?}, {math:?}")?,
            Algorithm::Filter(algorithm) => write!(f, "{algorithm:?}, {math:?}")?,
            Algorithm::Engine(engine) => engine.name().fmt(f)?,
        }
        fused.map_or(Ok(()), |relu| f.write_str(RELUS[relu].1))
    }
}

impl Plan {
    /// The plans for `key`, or that of them which has this name: algorithms in cuDNN's own order, those of a folded norm first
    /// as one call, by either ReLU, then as two; and engines in its order, where factors may be rounded or there is no algorithm.
    /// (Where they may not, there is one way, which cuDNN names first.)
    pub(super) unsafe fn all(handle: cudnnHandle_t, key: Key, name: Option<&str>) -> Answer<Vec<Self>> {
        let (data, math) = match (key.element, key.tf32) {
            (Element::Bf16, _) => {
                (cudnnDataType_t::CUDNN_DATA_BFLOAT16, cudnnMathType_t::CUDNN_TENSOR_OP_MATH)
            }
            (Element::F32, true) => (cudnnDataType_t::CUDNN_DATA_FLOAT, cudnnMathType_t::CUDNN_DEFAULT_MATH),
            // No tensor cores, so no TF32.
            (Element::F32, false) => (cudnnDataType_t::CUDNN_DATA_FLOAT, cudnnMathType_t::CUDNN_FMA_MATH),
        };
        // SAFETY: all descriptors are set before they are used.
        let (shapes, conv) = unsafe { (Shapes::new(key, data)?, convolution(key.shape, math)?) };
        let mut plans = match is_aligned(key) {
            true => {
                // SAFETY: the caller's; all descriptors are set.
                unsafe { algorithms(handle, key, shapes, conv, math) }.or_else(|error| without(key, error))?
            }
            false => Vec::new(),
        };
        if key.kind == Kind::Folded {
            let fused = |relu| plans.iter().map(move |plan| Self { fused: Some(relu), ..*plan });
            plans = (0..RELUS.len()).flat_map(fused).chain(plans.iter().copied()).collect();
        }
        if let Some(name) = name {
            plans.retain(|plan| plan.to_string() == name);
        }
        if plans.is_empty() || (key.rounds() && name.is_none()) {
            // SAFETY: the caller's.
            let engines = unsafe { engines(handle, key, name) };
            if key.kernels == Kernels::Engines && !engines.is_empty() {
                plans.clear();
            }
            plans.extend(engines.into_iter().map(|engine| {
                let (algorithm, workspace) = (Algorithm::Engine(engine), engine.workspace);
                Self { shapes, conv, algorithm, math, workspace, fused: None }
            }));
        }
        Ok(plans)
    }

    /// Whether cuDNN does the epilogue too.
    pub(in crate::ops::cuda) fn is_fused(&self) -> bool {
        matches!(self.algorithm, Algorithm::Engine(engine) if engine.is_fused()) || self.fused.is_some()
    }

    /// Bytes to take for a workspace: powers of two, so that calls of unlike needs have one in turn, and each of several begins
    /// where a map may.
    fn workspace_room(&self) -> usize {
        self.workspace.next_power_of_two().max(256)
    }

    /// Launches a call, its members beside each other, but for an epilogue that is not fused.
    ///
    /// # Safety
    /// As `Backend::convolve`.
    pub(super) unsafe fn run_members(
        &self,
        handle: cudnnHandle_t,
        spread: &Spread,
        arena: &Arena,
        call: &Call,
    ) -> Result<Answer<()>> {
        let room = self.workspace_room();
        let width = (WORKSPACE / room).clamp(1, call.members.min(spread.width()));
        let workspace = arena.take(width * room)?;
        spread.run(call.members, width, |member, place, stream| {
            let workspace = workspace.at() + (place * room) as u64;
            // SAFETY: the caller's; each member's rows and weights lie within the call's, and each stream has a workspace.
            unsafe {
                dnn::set_stream(handle, stream.cu_stream().cast())?;
                self.run(handle, &Memory::of(call, member), workspace)
            }
        })
    }

    /// Launches one member's part of a call.
    pub(super) unsafe fn run(&self, handle: cudnnHandle_t, memory: &Memory, workspace: u64) -> Answer<()> {
        let at = |address: u64| address as *mut c_void;
        let (input, weight, output) = (at(memory.input), at(memory.weight), at(memory.output));
        let workspace = at(workspace);
        let one = 1.0_f32;
        let zero = 0.0_f32;
        let alpha = (&raw const one).cast::<c_void>();
        let onto = |onto: bool| if onto { &raw const one } else { &raw const zero }.cast::<c_void>();
        let beta = onto(memory.accumulate);
        let Plan { conv, workspace: size, .. } = *self;
        let Shapes { input: x, weight: w, output: y, bias, relus } = self.shapes;
        // SAFETY: the caller's memory, the plan's descriptors, a workspace of the plan's size.
        unsafe {
            match (self.algorithm, self.fused) {
                (Algorithm::Forward(algorithm), Some(relu)) => {
                    // Without a shortcut the output takes its place, times zero.
                    let skip = if memory.skip == 0 { output } else { at(memory.skip) };
                    dnn::convolution_bias_activation_forward(
                        handle,
                        alpha,
                        x,
                        input,
                        w,
                        weight,
                        conv,
                        algorithm,
                        workspace,
                        size,
                        onto(memory.skip != 0),
                        y,
                        skip,
                        bias,
                        at(memory.bias),
                        relus[relu],
                        y,
                        output,
                    )
                }
                (Algorithm::Forward(algorithm), _) => dnn::convolution_forward(
                    handle, alpha, x, input, w, weight, conv, algorithm, workspace, size, beta, y, output,
                ),
                (Algorithm::Data(algorithm), _) => dnn::convolution_backward_data(
                    handle, alpha, w, weight, y, output, conv, algorithm, workspace, size, beta, x, input,
                ),
                (Algorithm::Filter(algorithm), _) => dnn::convolution_backward_filter(
                    handle, alpha, x, input, y, output, conv, algorithm, workspace, size, beta, w, weight,
                ),
                (Algorithm::Engine(engine), _) => engine.run(handle, memory, workspace),
            }
        }
    }
}

/// Whether cuDNN's older calls, which cannot be told how memory is aligned, may be given the parts of every member: it asks for four
/// bytes.
fn is_aligned(key: Key) -> bool {
    let Key { shape, batch, .. } = key;
    let weights = shape.channels_in * shape.channels_out * shape.kernel * shape.kernel;
    let input = batch * shape.channels_in * shape.height * shape.width;
    let output = batch * shape.channels_out * shape.out_height() * shape.out_width();
    key.members == 1
        || [weights, input, output].iter().all(|len| (len * key.element.bytes()).is_multiple_of(4))
}

/// No algorithms of cuDNN's older calls, after a line that says so, once, where they fail: its engines do without them.
fn without(key: Key, error: CudnnError) -> Answer<Vec<Plan>> {
    static SAID: Once = Once::new();
    if is_out_of_memory(error) {
        return Err(error);
    }
    if !is_not_supported(error) {
        SAID.call_once(|| eprintln!("{key}: cuDNN names no algorithm for it ({error})"));
    }
    Ok(Vec::new())
}

/// Those of cuDNN's older calls for `key`.
unsafe fn algorithms(
    handle: cudnnHandle_t,
    key: Key,
    shapes: Shapes,
    conv: cudnnConvolutionDescriptor_t,
    math: cudnnMathType_t,
) -> Answer<Vec<Plan>> {
    let Shapes { input, weight, output, .. } = shapes;
    let mut count: c_int = 0;
    let asked = ALGORITHMS as c_int;
    // SAFETY: all descriptors are set; the arrays have room for `asked` answers, and zeros are valid ones.
    let found = unsafe {
        match key.kind {
            Kind::Forward | Kind::Folded => {
                let mut found = [std::mem::zeroed(); ALGORITHMS];
                let to = found.as_mut_ptr();
                dnn::get_convolution_forward_algorithm(
                    handle, input, weight, conv, output, asked, &mut count, to,
                )?;
                usable!(found, count, key.kernels, Algorithm::Forward)
            }
            Kind::Data => {
                let mut found = [std::mem::zeroed(); ALGORITHMS];
                let to = found.as_mut_ptr();
                dnn::get_convolution_backward_data_algorithm(
                    handle, weight, output, conv, input, asked, &mut count, to,
                )?;
                usable!(found, count, key.kernels, Algorithm::Data)
            }
            Kind::Filter => {
                let mut found = [std::mem::zeroed(); ALGORITHMS];
                let to = found.as_mut_ptr();
                dnn::get_convolution_backward_filter_algorithm(
                    handle, input, output, conv, weight, asked, &mut count, to,
                )?;
                usable!(found, count, key.kernels, Algorithm::Filter)
            }
        }
    };
    let plan = |(algorithm, workspace, offered)| {
        // The arithmetic that the algorithm was offered for.
        let math = if math == cudnnMathType_t::CUDNN_FMA_MATH { math } else { offered };
        // SAFETY: as above.
        let conv = unsafe { convolution(key.shape, math)? };
        Ok(Plan { shapes, conv, algorithm, math, workspace, fused: None })
    };
    found.into_iter().map(plan).collect()
}

/// The engines for `key`, or that of them which has this name. Where cuDNN's graph API fails, a line says so, once: its older
/// calls do without it.
unsafe fn engines(handle: cudnnHandle_t, key: Key, name: Option<&str>) -> Vec<Engine> {
    static SAID: Once = Once::new();
    let wanted = |engine: EngineName| name.is_none_or(|name| engine.to_string() == name);
    // SAFETY: the caller's.
    match unsafe { Engine::all(Target::Handle(handle), key, wanted) } {
        Ok(engines) => engines,
        Err(error) => {
            if !is_not_supported(error) {
                SAID.call_once(|| eprintln!("{key}: cuDNN's graph API has no engine for it ({error})"));
            }
            Vec::new()
        }
    }
}

/// A descriptor of the convolution.
unsafe fn convolution(shape: ConvShape, math: cudnnMathType_t) -> Answer<cudnnConvolutionDescriptor_t> {
    let (pad, stride) = (shape.pad() as c_int, shape.stride as c_int);
    let mode = cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
    let float = cudnnDataType_t::CUDNN_DATA_FLOAT;
    let conv = dnn::create_convolution_descriptor()?;
    // SAFETY: it was just made.
    unsafe {
        dnn::set_convolution2d_descriptor(conv, pad, pad, stride, stride, 1, 1, mode, float)?;
        dnn::set_convolution_math_type(conv, math)?;
    }
    Ok(conv)
}
