//! Launches of the convolutions on tensor cores (implicit_gemm.cu): in bf16 and TF32, all members at once.

use super::backend::{Arena, Arg, Element, Launch};
use super::convolution::{Call, Pass};
use crate::error::Result;

/// Channels that a block holds at a time (`CHUNK` in implicit_gemm.cu).
const CHUNK: usize = 16;
/// Pixels of a block (`PIXELS`).
const PIXELS: usize = 128;
/// Pixels in a row of a map at most (`WIDEST`).
const WIDEST: usize = 64;
/// Values that a block of `gemm_filter_sum` adds up (`SUM_TILE`).
const SUM_TILE: usize = 32;
/// Blocks that fill a device: with fewer, a block takes fewer output channels, and a filter's pixels are cut into more parts.
const BLOCKS: usize = 256;

/// Whether the kernels can do this: a convolution over maps, 3x3 and of stride 1, whose factors may be rounded.
pub(crate) fn fits(call: &Call) -> bool {
    let shape = call.shape;
    let is_rounded = call.element == Element::Bf16 || call.tf32;
    is_rounded
        && !call.linear
        && (shape.kernel, shape.stride) == (3, 1)
        && shape.width <= WIDEST
        && [shape.channels_in, shape.channels_out].iter().all(|channels| channels % CHUNK == 0)
}

/// Runs `call`, its epilogue too.
///
/// # Safety
/// As `Backend::convolve`; the call must be one that [`fits`].
pub(crate) unsafe fn run(arena: &Arena, call: &Call) -> Result<()> {
    let shape = call.shape;
    let (inner, outer) = match call.pass {
        Pass::Data { .. } => (shape.channels_out, shape.channels_in),
        Pass::Forward | Pass::Filter => (shape.channels_in, shape.channels_out),
    };
    let runs = (call.batch * shape.height * shape.width).div_ceil(PIXELS);
    let tiles = if outer % 32 == 0 && runs * (outer / 32) * call.members >= BLOCKS { 4 } else { 2 };
    let grid = [runs, outer / (8 * tiles), call.members];
    let sizes = [call.batch, inner, outer, shape.height, shape.width].map(Arg::from);
    let [input, weight, output] = [call.input, call.weight, call.output].map(Arg::At);
    let launch = |kernel, lanes, grid, args: &[Arg], bytes| {
        let launch = Launch { kernel, lanes, element: call.element, grid, args, bytes };
        // SAFETY: the caller's; the arguments are the kernel's own.
        unsafe { arena.backend().launch(&launch) }
    };
    match call.pass {
        Pass::Forward => {
            let (bias, skip) = call.epilogue.map_or((0, 0), |epilogue| (epilogue.bias, epilogue.skip));
            let start = [input, weight, output, call.input_rows.into()];
            let args = [&start[..], &sizes, &[bias, skip].map(Arg::At)].concat();
            launch("gemm_forward", Some(tiles), grid, &args, call.bytes() + call.skip_bytes())
        }
        Pass::Data { accumulate } => {
            let args = [&[output, weight, input][..], &sizes, &[usize::from(accumulate).into()]].concat();
            launch("gemm_data", Some(tiles), grid, &args, call.bytes())
        }
        Pass::Filter => {
            let pairs = (outer / CHUNK) * (inner / CHUNK);
            let parts = (BLOCKS / (pairs * call.members)).clamp(1, runs);
            let count = call.members * call.weights();
            let sums = arena.floats(parts * count)?;
            let start = [input, output, Arg::At(sums.at()), call.input_rows.into()];
            let args = [&start[..], &sizes].concat();
            launch("gemm_filter", None, [parts, pairs, call.members], &args, call.bytes())?;
            let args = [Arg::At(sums.at()), weight, parts.into(), count.into()];
            launch("gemm_filter_sum", None, [count / SUM_TILE, 1, 1], &args, 0)
        }
    }
}
