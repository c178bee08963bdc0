//! Convolutions: what is to be computed, and the kernels that do it where no library does.

use super::backend::{Arg, Backend, Element, Launch, by_columns, elementwise};
use crate::error::Result;
use crate::ops::cpu::geometry::ConvShape;

/// Input channels that a block of `direct_filter` works on at most (`FILTER_TILE` in direct.cu).
const FILTER_TILE: usize = 32;

/// Which of a convolution's three sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pass {
    /// `output` from `input` and `weight`.
    Forward,
    /// `input` from `output` and `weight`; added to what is there with `accumulate`.
    Data { accumulate: bool },
    /// `weight` from `input` and `output`.
    Filter,
}

#[cfg(feature = "cudnn")]
impl Pass {
    /// What its time counts as.
    pub(crate) fn kind(self) -> crate::profile::Kind {
        use crate::profile::Kind;
        match self {
            Pass::Forward => Kind::Forward,
            Pass::Data { .. } => Kind::GradInput,
            Pass::Filter => Kind::GradWeight,
        }
    }
}

/// One pass of a convolution over `members` times `batch` rows, each member with weights of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub pass: Pass,
    pub shape: ConvShape,
    pub element: Element,
    /// Whether factors may be rounded to TF32.
    pub tf32: bool,
    pub members: usize,
    pub batch: usize,
    /// Rows of `input` in forward and filter passes: row r reads row r modulo them.
    pub input_rows: usize,
    /// The map (rows, H, W, I), or its gradient.
    pub input: u64,
    /// (members, O, k, k, I), or their gradient.
    pub weight: u64,
    /// The map (rows, H', W', O), or its gradient.
    pub output: u64,
    /// The classifier's bias in the forward pass (0 for none), and whether each member has one.
    pub bias: u64,
    pub bias_of_members: bool,
    /// What a forward pass over maps does to its output.
    pub epilogue: Option<Epilogue>,
    /// A classifier: small, and always by the kernels of direct.cu.
    pub linear: bool,
}

/// y = relu(y + bias + skip): a folded norm, its ReLU and its block's shortcut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Epilogue {
    /// A value an output channel, of the maps' type.
    pub bias: u64,
    /// A map of the output's shape; 0 for none.
    pub skip: u64,
}

impl Call {
    pub(crate) fn rows(&self) -> usize {
        self.members * self.batch
    }

    /// Weights of one member.
    pub(crate) fn weights(&self) -> usize {
        self.shape.channels_in * self.shape.channels_out * self.shape.kernel * self.shape.kernel
    }

    /// Values of one row of the input.
    pub(crate) fn input_len(&self) -> usize {
        self.shape.channels_in * self.shape.height * self.shape.width
    }

    /// Values of one row of the output.
    pub(crate) fn output_len(&self) -> usize {
        self.shape.channels_out * self.shape.out_height() * self.shape.out_width()
    }

    /// Bytes of its maps and weights, read or written once, without its epilogue's.
    pub(crate) fn bytes(&self) -> usize {
        let input = match self.pass {
            Pass::Forward | Pass::Filter => self.input_rows,
            Pass::Data { accumulate } => self.rows() * (1 + usize::from(accumulate)),
        };
        let values =
            input * self.input_len() + self.rows() * self.output_len() + self.members * self.weights();
        values * self.element.bytes()
    }

    /// Bytes of the shortcut that its epilogue reads.
    pub(crate) fn skip_bytes(&self) -> usize {
        let has_skip = self.epilogue.is_some_and(|epilogue| epilogue.skip != 0);
        if has_skip { self.rows() * self.output_len() * self.element.bytes() } else { 0 }
    }

    /// Input of a member: the address of its first row.
    #[cfg(feature = "cudnn")]
    pub(crate) fn member_input(&self, member: usize) -> u64 {
        let row = member * self.batch % self.input_rows;
        self.input + (row * self.input_len() * self.element.bytes()) as u64
    }
}

/// Runs `call` with the kernels of direct.cu, which follow the definition.
///
/// # Safety
/// As [`Backend::convolve`].
pub(crate) unsafe fn direct(backend: &dyn Backend, call: &Call) -> Result<()> {
    let ConvShape { channels_in, channels_out, kernel, stride, height, width } = call.shape;
    let sizes = [
        channels_in,
        channels_out,
        kernel,
        stride,
        height,
        width,
        call.shape.out_height(),
        call.shape.out_width(),
    ]
    .map(Arg::from);
    let (input, weight, output) = (Arg::At(call.input), Arg::At(call.weight), Arg::At(call.output));
    let (kernel, grid, mut args) = match call.pass {
        Pass::Forward => {
            let count = call.rows() * call.output_len();
            let bias_members = usize::from(call.bias_of_members).into();
            let bias = Arg::At(call.bias);
            let sizes = [count.into(), call.input_rows.into(), call.batch.into(), bias_members];
            (
                "direct_forward",
                elementwise(count),
                [vec![input, weight, bias, output], sizes.to_vec()].concat(),
            )
        }
        Pass::Data { accumulate } => {
            let count = call.rows() * call.input_len();
            let sizes = [count.into(), call.batch.into(), usize::from(accumulate).into()];
            ("direct_data", elementwise(count), [vec![output, weight, input], sizes.to_vec()].concat())
        }
        Pass::Filter => {
            let grid = [channels_in.div_ceil(FILTER_TILE), channels_out * kernel * kernel, call.members];
            ("direct_filter", grid, vec![input, output, weight, call.input_rows.into(), call.batch.into()])
        }
    };
    args.extend(sizes);
    let launch =
        Launch { kernel, lanes: None, element: call.element, grid, args: &args, bytes: call.bytes() };
    // SAFETY: the caller's.
    unsafe { backend.launch(&launch)? };
    // SAFETY: the caller's.
    unsafe { finish(backend, call) }
}

/// The call's epilogue, as a pass of its own over the output.
///
/// # Safety
/// As [`Backend::convolve`].
pub(crate) unsafe fn finish(backend: &dyn Backend, call: &Call) -> Result<()> {
    let Some(Epilogue { bias, skip }) = call.epilogue else { return Ok(()) };
    let channels = call.shape.channels_out;
    let lanes = call.element.lanes(&[channels]);
    let count = call.rows() * call.output_len() / lanes;
    let args =
        [&[call.output, bias, skip].map(Arg::At)[..], &[count, channels / lanes].map(Arg::from)].concat();
    let kernel = "finish_folded";
    let at_a_time = backend.at_a_time(kernel, Some(lanes), call.element)?;
    let launch = Launch {
        kernel,
        lanes: Some(lanes),
        element: call.element,
        grid: by_columns(count, channels / lanes, 1, at_a_time),
        args: &args,
        bytes: 2 * call.rows() * call.output_len() * call.element.bytes() + call.skip_bytes(),
    };
    // SAFETY: the caller's.
    unsafe { backend.launch(&launch) }
}
