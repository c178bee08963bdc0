//! Convolutions by cuDNN, channels last: descriptors, algorithm and workspace are looked up once for each shape.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::cuda::cudarc::cudnn::result::{self as dnn, CudnnError};
use candle_core::cuda::cudarc::cudnn::sys::{
    cudnnConvolutionBwdDataAlgo_t, cudnnConvolutionBwdFilterAlgo_t, cudnnConvolutionDescriptor_t,
    cudnnConvolutionFwdAlgo_t, cudnnConvolutionMode_t, cudnnDataType_t, cudnnDeterminism_t,
    cudnnFilterDescriptor_t, cudnnHandle_t, cudnnMathType_t, cudnnStatus_t, cudnnTensorDescriptor_t,
    cudnnTensorFormat_t,
};
use candle_core::cuda::cudarc::driver::CudaStream;

use super::Element;
use super::backend::Arena;
use super::convolution::{Call, Pass};
use super::device::failed;
use crate::error::Result;
use crate::ops::cpu::geometry::ConvShape;

/// Bytes of workspace that an algorithm may ask for.
const WORKSPACE: usize = 1 << 30;
/// Algorithms that cuDNN is asked about at most, of each kind.
const ALGORITHMS: usize = 8;

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
    Data,
    Filter,
}

#[derive(Clone, Copy)]
enum Algorithm {
    Forward(cudnnConvolutionFwdAlgo_t),
    Data(cudnnConvolutionBwdDataAlgo_t),
    Filter(cudnnConvolutionBwdFilterAlgo_t),
}

/// Descriptors and algorithm of one kind of pass at one shape.
#[derive(Clone, Copy)]
struct Plan {
    input: cudnnTensorDescriptor_t,
    weight: cudnnFilterDescriptor_t,
    output: cudnnTensorDescriptor_t,
    conv: cudnnConvolutionDescriptor_t,
    algorithm: Algorithm,
    workspace: usize,
}

/// A handle and the plans so far. They live as long as the process.
struct Library {
    handle: cudnnHandle_t,
    plans: HashMap<Key, Plan>,
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
        Ok(Self(Mutex::new(Library { handle, plans: HashMap::new() })))
    }

    /// Runs the call, a member after the other.
    ///
    /// # Safety
    /// As `Backend::convolve`.
    pub(super) unsafe fn run(&self, arena: &Arena, call: &Call) -> Result<()> {
        let mut library = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = library.plan(call)?;
        let workspace = arena.take(plan.workspace)?;
        for member in 0..call.members {
            // SAFETY: the caller's; each member's rows and weights lie within the call's.
            unsafe { plan.run(library.handle, call, member, workspace.at() as *mut c_void) }
                .map_err(|error| failed(describe(call), error))?;
        }
        Ok(())
    }
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
    fn plan(&mut self, call: &Call) -> Result<Plan> {
        let kind = match call.pass {
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
        let plan = unsafe { Plan::new(self.handle, key) }.map_err(|error| failed(describe(call), error))?;
        let Some(plan) = plan else {
            let reason = "no deterministic algorithm for these channels-last maps";
            return Err(failed(describe(call), reason));
        };
        self.plans.insert(key, plan);
        Ok(plan)
    }
}

/// The first algorithm that works, gives the same bits each time and asks for no more than [`WORKSPACE`].
macro_rules! pick {
    ($found:expr, $count:expr) => {
        $found.iter().take(usize::try_from($count).unwrap_or(0)).find(|candidate| {
            candidate.status == cudnnStatus_t::CUDNN_STATUS_SUCCESS
                && candidate.determinism == cudnnDeterminism_t::CUDNN_DETERMINISTIC
                && candidate.memory <= WORKSPACE
        })
    };
}

impl Plan {
    unsafe fn new(handle: cudnnHandle_t, key: Key) -> std::result::Result<Option<Self>, CudnnError> {
        let int = |value: usize| value as c_int;
        let shape = key.shape;
        let (data, math) = match (key.element, key.tf32) {
            (Element::Bf16, _) => {
                (cudnnDataType_t::CUDNN_DATA_BFLOAT16, cudnnMathType_t::CUDNN_TENSOR_OP_MATH)
            }
            (Element::F32, true) => (cudnnDataType_t::CUDNN_DATA_FLOAT, cudnnMathType_t::CUDNN_DEFAULT_MATH),
            // No tensor cores, so no TF32.
            (Element::F32, false) => (cudnnDataType_t::CUDNN_DATA_FLOAT, cudnnMathType_t::CUDNN_FMA_MATH),
        };
        let nhwc = cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        let (input, output) = (dnn::create_tensor_descriptor()?, dnn::create_tensor_descriptor()?);
        let (weight, conv) = (dnn::create_filter_descriptor()?, dnn::create_convolution_descriptor()?);
        let batch = int(key.batch);
        let (channels_in, channels_out, kernel) =
            (int(shape.channels_in), int(shape.channels_out), int(shape.kernel));
        let (pad, stride) = (int(shape.pad()), int(shape.stride));
        // SAFETY: the descriptors were just made.
        unsafe {
            let dims = [batch, channels_in, int(shape.height), int(shape.width)];
            dnn::set_tensor4d_descriptor(input, nhwc, data, dims)?;
            let dims = [batch, channels_out, int(shape.out_height()), int(shape.out_width())];
            dnn::set_tensor4d_descriptor(output, nhwc, data, dims)?;
            dnn::set_filter4d_descriptor(weight, data, nhwc, [channels_out, channels_in, kernel, kernel])?;
            let mode = cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
            let float = cudnnDataType_t::CUDNN_DATA_FLOAT;
            dnn::set_convolution2d_descriptor(conv, pad, pad, stride, stride, 1, 1, mode, float)?;
            dnn::set_convolution_math_type(conv, math)?;
        }
        let mut count: c_int = 0;
        let asked = ALGORITHMS as c_int;
        // SAFETY: all descriptors are set; the arrays have room for `asked` answers, and zeros are valid ones.
        let found = unsafe {
            match key.kind {
                Kind::Forward => {
                    let mut found = [std::mem::zeroed(); ALGORITHMS];
                    let to = found.as_mut_ptr();
                    dnn::get_convolution_forward_algorithm(
                        handle, input, weight, conv, output, asked, &mut count, to,
                    )?;
                    pick!(found, count).map(|f| (Algorithm::Forward(f.algo), f.memory, f.mathType))
                }
                Kind::Data => {
                    let mut found = [std::mem::zeroed(); ALGORITHMS];
                    let to = found.as_mut_ptr();
                    dnn::get_convolution_backward_data_algorithm(
                        handle, weight, output, conv, input, asked, &mut count, to,
                    )?;
                    pick!(found, count).map(|f| (Algorithm::Data(f.algo), f.memory, f.mathType))
                }
                Kind::Filter => {
                    let mut found = [std::mem::zeroed(); ALGORITHMS];
                    let to = found.as_mut_ptr();
                    dnn::get_convolution_backward_filter_algorithm(
                        handle, input, output, conv, weight, asked, &mut count, to,
                    )?;
                    pick!(found, count).map(|f| (Algorithm::Filter(f.algo), f.memory, f.mathType))
                }
            }
        };
        let Some((algorithm, workspace, found_math)) = found else { return Ok(None) };
        if math != cudnnMathType_t::CUDNN_FMA_MATH {
            // The arithmetic that the algorithm was chosen for.
            // SAFETY: the descriptor is alive.
            unsafe { dnn::set_convolution_math_type(conv, found_math)? };
        }
        Ok(Some(Self { input, weight, output, conv, algorithm, workspace }))
    }

    /// Launches one member's part of a call.
    unsafe fn run(
        &self,
        handle: cudnnHandle_t,
        call: &Call,
        member: usize,
        workspace: *mut c_void,
    ) -> std::result::Result<(), CudnnError> {
        let bytes = call.element.bytes();
        let weight = (call.weight + (member * call.weights() * bytes) as u64) as *mut c_void;
        let output = (call.output + (member * call.batch * call.output_len() * bytes) as u64) as *mut c_void;
        let input = call.member_input(member) as *mut c_void;
        let one = 1.0_f32;
        let zero = 0.0_f32;
        let accumulate = matches!(call.pass, Pass::Data { accumulate: true });
        let alpha = (&raw const one).cast::<c_void>();
        let beta = if accumulate { &raw const one } else { &raw const zero }.cast::<c_void>();
        let Plan { input: x, weight: w, output: y, conv, workspace: size, .. } = *self;
        // SAFETY: the caller's memory, the plan's descriptors, a workspace of the plan's size.
        unsafe {
            match self.algorithm {
                Algorithm::Forward(algorithm) => dnn::convolution_forward(
                    handle, alpha, x, input, w, weight, conv, algorithm, workspace, size, beta, y, output,
                ),
                Algorithm::Data(algorithm) => dnn::convolution_backward_data(
                    handle, alpha, w, weight, y, output, conv, algorithm, workspace, size, beta, x, input,
                ),
                Algorithm::Filter(algorithm) => dnn::convolution_backward_filter(
                    handle, alpha, x, input, y, output, conv, algorithm, workspace, size, beta, w, weight,
                ),
            }
        }
    }
}
