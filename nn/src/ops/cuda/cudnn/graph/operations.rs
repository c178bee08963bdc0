//! What the graphs of cuDNN's graph API compute: a convolution's sum, and behind it what a folded norm does to its output.

use candle_core::cuda::cudarc::cudnn::sys::{
    cudnnBackendAttributeName_t as Name, cudnnBackendAttributeType_t as Type, cudnnBackendDescriptor_t,
    cudnnBackendDescriptorType_t as Descriptor, cudnnConvolutionMode_t, cudnnDataType_t,
    cudnnNanPropagation_t, cudnnPointwiseMode_t,
};

use super::super::super::Element;
use super::super::descriptor::Builder;
use super::super::plan::Answer;
use super::super::{Key, Kind};

/// Names of the input, the weights, the output, the bias and the shortcut in a graph.
pub(super) const IDS: [i64; 5] = [1, 2, 3, 4, 5];
/// Of what there is between its operations, the first name.
const BETWEEN: i64 = 6;
/// Bytes that an address is a multiple of where the rows of each member are.
const ALIGNMENT: usize = 16;

/// The operations of a graph for `key`; with `is_fused` relu(sum + shortcut + bias), and f32 between them.
pub(super) unsafe fn operations(key: Key, is_fused: bool) -> Answer<Vec<cudnnBackendDescriptor_t>> {
    let (shape, batch) = (key.shape, key.batch);
    let dims = [batch, shape.channels_out, shape.out_height(), shape.out_width()];
    // SAFETY: all descriptors are finished.
    unsafe {
        let output = tensor(IDS[2], key.element, dims)?;
        if !is_fused {
            return Ok(vec![sum(key, output)?]);
        }
        let mut last = between(0, dims)?;
        let mut all = vec![sum(key, last)?];
        if key.adds {
            let (skip, added) = (tensor(IDS[4], key.element, dims)?, between(1, dims)?);
            all.push(pointwise(cudnnPointwiseMode_t::CUDNN_POINTWISE_ADD, last, Some(skip), added)?);
            last = added;
        }
        let (bias, added) = (tensor(IDS[3], key.element, [1, shape.channels_out, 1, 1])?, between(2, dims)?);
        all.push(pointwise(cudnnPointwiseMode_t::CUDNN_POINTWISE_ADD, last, Some(bias), added)?);
        all.push(pointwise(cudnnPointwiseMode_t::CUDNN_POINTWISE_RELU_FWD, added, None, output)?);
        Ok(all)
    }
}

/// The convolution, in a forward pass to `output`.
unsafe fn sum(key: Key, output: cudnnBackendDescriptor_t) -> Answer<cudnnBackendDescriptor_t> {
    use Name as N;
    let (kind, [conv, x, w, y, alpha, beta]) = match key.kind {
        Kind::Forward | Kind::Folded => (
            Descriptor::CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
            [
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
            ],
        ),
        Kind::Data => (
            Descriptor::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
            [
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
            ],
        ),
        Kind::Filter => (
            Descriptor::CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
            [
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
                N::CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
            ],
        ),
    };
    let (shape, batch) = (key.shape, key.batch);
    let dims = [
        [batch, shape.channels_in, shape.height, shape.width],
        [shape.channels_out, shape.channels_in, shape.kernel, shape.kernel],
    ];
    let is_added = key.kind == Kind::Data && key.adds;
    // SAFETY: each attribute has its own type.
    unsafe {
        let [input, weight] = [0, 1].map(|index| tensor(IDS[index], key.element, dims[index]));
        Builder::new(kind)?
            .part(conv, convolution(key)?)?
            .part(x, input?)?
            .part(w, weight?)?
            .part(y, output)?
            .set(alpha, Type::CUDNN_TYPE_FLOAT, &[1.0_f32])?
            .set(beta, Type::CUDNN_TYPE_FLOAT, &[f32::from(u8::from(is_added))])?
            .finish()
    }
}

/// An addition, or what has one input.
unsafe fn pointwise(
    mode: cudnnPointwiseMode_t,
    input: cudnnBackendDescriptor_t,
    added: Option<cudnnBackendDescriptor_t>,
    output: cudnnBackendDescriptor_t,
) -> Answer<cudnnBackendDescriptor_t> {
    let (float, nan) = (cudnnDataType_t::CUDNN_DATA_FLOAT, cudnnNanPropagation_t::CUDNN_PROPAGATE_NAN);
    // SAFETY: each attribute has its own type.
    unsafe {
        let mode = Builder::new(Descriptor::CUDNN_BACKEND_POINTWISE_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_POINTWISE_MODE, Type::CUDNN_TYPE_POINTWISE_MODE, &[mode])?
            .set(Name::CUDNN_ATTR_POINTWISE_MATH_PREC, Type::CUDNN_TYPE_DATA_TYPE, &[float])?
            .set(Name::CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, Type::CUDNN_TYPE_NAN_PROPOGATION, &[nan])?
            .finish()?;
        let mut operation = Builder::new(Descriptor::CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR)?
            .part(Name::CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, mode)?
            .part(Name::CUDNN_ATTR_OPERATION_POINTWISE_XDESC, input)?
            .part(Name::CUDNN_ATTR_OPERATION_POINTWISE_YDESC, output)?;
        if let Some(added) = added {
            operation = operation.part(Name::CUDNN_ATTR_OPERATION_POINTWISE_BDESC, added)?;
        }
        operation.finish()
    }
}

/// A member's part of a map or of the weights, channels last; `dims` are rows, channels, height and width.
unsafe fn tensor(id: i64, element: Element, dims: [usize; 4]) -> Answer<cudnnBackendDescriptor_t> {
    // SAFETY: it was just made.
    unsafe { described(id, element, dims)?.finish() }
}

/// The `index`-th map that is nowhere in memory.
unsafe fn between(index: i64, dims: [usize; 4]) -> Answer<cudnnBackendDescriptor_t> {
    // SAFETY: the attribute has its own type.
    unsafe {
        described(BETWEEN + index, Element::F32, dims)?
            .set(Name::CUDNN_ATTR_TENSOR_IS_VIRTUAL, Type::CUDNN_TYPE_BOOLEAN, &[true])?
            .finish()
    }
}

unsafe fn described(id: i64, element: Element, dims: [usize; 4]) -> Answer<Builder> {
    let data = match element {
        Element::F32 => cudnnDataType_t::CUDNN_DATA_FLOAT,
        Element::Bf16 => cudnnDataType_t::CUDNN_DATA_BFLOAT16,
    };
    let [_, channels, height, width] = dims;
    let strides = [height * width * channels, 1, width * channels, channels];
    let bytes = dims.iter().product::<usize>() * element.bytes();
    let alignment = ALIGNMENT.min(1 << bytes.trailing_zeros());
    // SAFETY: each attribute has its own type.
    unsafe {
        Builder::new(Descriptor::CUDNN_BACKEND_TENSOR_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_TENSOR_UNIQUE_ID, Type::CUDNN_TYPE_INT64, &[id])?
            .set(Name::CUDNN_ATTR_TENSOR_DATA_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[data])?
            .set(Name::CUDNN_ATTR_TENSOR_DIMENSIONS, Type::CUDNN_TYPE_INT64, &dims.map(|dim| dim as i64))?
            .set(
                Name::CUDNN_ATTR_TENSOR_STRIDES,
                Type::CUDNN_TYPE_INT64,
                &strides.map(|stride| stride as i64),
            )?
            .set(Name::CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, Type::CUDNN_TYPE_INT64, &[alignment as i64])
    }
}

unsafe fn convolution(key: Key) -> Answer<cudnnBackendDescriptor_t> {
    let twice = |value: usize| [value as i64; 2];
    let (pad, stride) = (twice(key.shape.pad()), twice(key.shape.stride));
    let (float, int) = (cudnnDataType_t::CUDNN_DATA_FLOAT, Type::CUDNN_TYPE_INT64);
    let mode = cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
    // SAFETY: each attribute has its own type.
    unsafe {
        Builder::new(Descriptor::CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR)?
            .set(Name::CUDNN_ATTR_CONVOLUTION_COMP_TYPE, Type::CUDNN_TYPE_DATA_TYPE, &[float])?
            .set(Name::CUDNN_ATTR_CONVOLUTION_CONV_MODE, Type::CUDNN_TYPE_CONVOLUTION_MODE, &[mode])?
            .set(Name::CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int, &[2_i64])?
            .set(Name::CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, int, &pad)?
            .set(Name::CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, int, &pad)?
            .set(Name::CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, int, &stride)?
            .set(Name::CUDNN_ATTR_CONVOLUTION_DILATIONS, int, &twice(1))?
            .finish()
    }
}
