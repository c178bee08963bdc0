//! Launches of random draws and of the data's augmentation.

use random::Stream;

use super::backend::{Arg, Backend, Element, Launch, elementwise};
use crate::error::Result;

/// Which draws: row r takes those of `stream` in `epoch` at index `first` + r.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keyed {
    pub stream: Stream,
    pub epoch: u32,
    pub first: u64,
}

impl Keyed {
    fn args(&self) -> [Arg; 4] {
        let [low, high] = self.stream.key();
        [Arg::Int(low), Arg::Int(high), Arg::Int(self.epoch), Arg::Long(self.first)]
    }
}

/// U(low, high), `per_row` values for each of `rows` rows, to f32 memory.
///
/// # Safety
/// `to` must hold rows * per_row floats.
pub(crate) unsafe fn uniform(
    backend: &dyn Backend,
    keyed: Keyed,
    (low, high): (f32, f32),
    (rows, per_row): (usize, usize),
    to: u64,
) -> Result<()> {
    let range = [Arg::Float(low), Arg::Float(high - low)];
    // SAFETY: the caller's; four values a Philox block.
    unsafe { fill(backend, "draw_uniform", 4, keyed, (rows, per_row), to, &range) }
}

/// N(0, 1), likewise.
///
/// # Safety
/// As [`uniform`].
pub(crate) unsafe fn normal(
    backend: &dyn Backend,
    keyed: Keyed,
    sizes: (usize, usize),
    to: u64,
) -> Result<()> {
    // SAFETY: the caller's; two values a Philox block.
    unsafe { fill(backend, "draw_normal", 2, keyed, sizes, to, &[]) }
}

unsafe fn fill(
    backend: &dyn Backend,
    kernel: &'static str,
    per_block: usize,
    keyed: Keyed,
    (rows, per_row): (usize, usize),
    to: u64,
    more: &[Arg],
) -> Result<()> {
    let row_blocks = per_row.div_ceil(per_block);
    let count = rows * row_blocks;
    if count == 0 {
        return Ok(());
    }
    let sizes = [count, per_row, row_blocks].map(Arg::from);
    let args = [&[Arg::At(to)][..], &sizes, &keyed.args(), more].concat();
    let grid = elementwise(count);
    // SAFETY: the caller's.
    unsafe {
        backend.launch(&Launch {
            kernel,
            lanes: None,
            element: Element::F32,
            grid,
            args: &args,
            bytes: rows * per_row * 4,
        })
    }
}

/// The images of `rows` (u32) from `images` (N, 3, size, size) in bytes, to f32 in [0, 1]: crops of images padded by
/// `pad`, drawn from `stream` in `epoch` for each example, or whole ones where `pad` is `None`.
///
/// # Safety
/// The memory must hold the images, and every row must name one.
pub(crate) unsafe fn augment(
    backend: &dyn Backend,
    (images, rows, to): (u64, u64, u64),
    (count, size): (usize, usize),
    pad: Option<usize>,
    (stream, epoch): (Stream, u32),
) -> Result<()> {
    let [low, high] = stream.key();
    let args = [
        &[images, rows, to].map(Arg::At)[..],
        &[size, pad.unwrap_or(0), usize::from(pad.is_some())].map(Arg::from),
        &[low, high, epoch].map(Arg::Int),
    ];
    let grid = [count, 1, 1];
    // SAFETY: the caller's; a block an image.
    unsafe {
        backend.launch(&Launch {
            kernel: "augment",
            lanes: None,
            element: Element::F32,
            grid,
            args: &args.concat(),
            // Bytes to floats.
            bytes: count * 3 * size * size * (1 + 4),
        })
    }
}

/// The labels of `rows`.
///
/// # Safety
/// As [`augment`].
pub(crate) unsafe fn gather_labels(
    backend: &dyn Backend,
    (labels, rows, to): (u64, u64, u64),
    count: usize,
) -> Result<()> {
    let args = [&[labels, rows, to].map(Arg::At)[..], &[count.into()]].concat();
    let grid = elementwise(count);
    // SAFETY: the caller's.
    unsafe {
        backend.launch(&Launch {
            kernel: "gather_labels",
            lanes: None,
            element: Element::F32,
            grid,
            args: &args,
            bytes: 3 * count * 4,
        })
    }
}
