//! Launches of the convolutions on tensor cores (implicit_gemm.cu): in bf16 and TF32, all members at once.

use super::backend::{Arena, Arg, Element, Launch, THREADS};
use super::convolution::{Call, Epilogue, Pass};
use crate::error::Result;

/// Channels that a block holds at a time (`CHUNK` in implicit_gemm.cu).
const CHUNK: usize = 16;
/// Pixels of a block (`PIXELS`).
const PIXELS: usize = 128;
/// Pixels in a row of a map at most (`WIDEST`).
const WIDEST: usize = 64;
/// Threads of a block that add up parts of one value (`gemm_filter_sum`) at most.
const SUM_LANES: usize = 8;
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
        && [shape.channels_in, shape.channels_out].iter().all(|channels| channels.is_multiple_of(CHUNK))
}

/// The blocks that a product of `pixels` by `channels` for each member is cut into: the largest of which there are enough.
/// Which of the kernels (`BY_TILES`) has them, and how many there are each way.
fn tiles(pixels: usize, channels: usize, members: usize) -> (usize, [usize; 3]) {
    let grid = |pixels_of, channels_of| [pixels.div_ceil(pixels_of), channels / channels_of, members];
    let is_enough = |grid: [usize; 3]| grid.iter().product::<usize>() >= BLOCKS;
    let [small, long, wide] = [grid(PIXELS, CHUNK), grid(2 * PIXELS, CHUNK), grid(PIXELS, 2 * CHUNK)];
    if channels.is_multiple_of(2 * CHUNK) && is_enough(wide) {
        (4, wide)
    } else if is_enough(long) {
        (2, long)
    } else {
        (1, small)
    }
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
    let pixels = call.batch * shape.height * shape.width;
    let sizes = [call.batch, inner, outer, shape.height, shape.width].map(Arg::from);
    let [input, weight, output] = [call.input, call.weight, call.output].map(Arg::At);
    let launch = |kernel, lanes, grid, args: &[&[Arg]], bytes| {
        let launch = Launch { kernel, lanes, element: call.element, grid, args: &args.concat(), bytes };
        // SAFETY: the caller's; the arguments are the kernel's own.
        unsafe { arena.backend().launch(&launch) }
    };
    let product = |kernel, args: &[&[Arg]]| {
        let (tiles, grid) = tiles(pixels, outer, call.members);
        launch(kernel, Some(tiles), grid, args, call.bytes() + call.skip_bytes())
    };
    match (call.pass, call.epilogue) {
        (Pass::Forward, None) => {
            product("gemm_forward", &[&[input, weight, output, call.input_rows.into()], &sizes])
        }
        (Pass::Forward, Some(Epilogue { bias, skip })) => {
            let start = [input, weight, output, call.input_rows.into()];
            product("gemm_folded", &[&start, &sizes, &[bias, skip].map(Arg::At)])
        }
        (Pass::Data { accumulate }, _) => {
            product("gemm_data", &[&[output, weight, input], &sizes, &[usize::from(accumulate).into()]])
        }
        (Pass::Filter, _) => {
            let pairs = (outer / CHUNK) * (inner / CHUNK);
            let parts = (BLOCKS / (pairs * call.members)).clamp(1, pixels.div_ceil(PIXELS));
            let count = call.members * call.weights();
            let sums = arena.floats(parts * count)?;
            let start = [input, output, Arg::At(sums.at()), call.input_rows.into()];
            launch("gemm_filter", None, [pairs, parts, call.members], &[&start, &sizes], call.bytes())?;
            let tile = THREADS / parts.next_power_of_two().min(SUM_LANES);
            let args = [Arg::At(sums.at()), weight, parts.into(), count.into(), tile.into()];
            launch("gemm_filter_sum", None, [count / tile, 1, 1], &[&args], 0)
        }
    }
}
