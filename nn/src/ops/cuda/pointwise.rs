//! Launches of the operators that work on one pixel at a time: images, skips, joins, pooling.

use std::sync::Arc;

use super::backend::{Arena, Arg, Backend, Buffer, Element, Launch, by_columns, elementwise};
use super::norm::{Grads, Norm};
use super::parts::Parts;
use crate::engine::graph::Feature;
use crate::error::{Error, Result};

/// Which rows there are: row member * batch + b is image b seen by `member`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub members: usize,
    pub batch: usize,
    /// Batch-norm groups.
    pub groups: usize,
}

impl Rows {
    pub(crate) fn count(&self) -> usize {
        self.members * self.batch
    }

    /// How many sets of neighbouring rows have norm tables of their own, and how many rows the largest has.
    fn spans(&self) -> (usize, usize) {
        match self.groups {
            1 => (1, self.count()),
            groups => (self.members * groups, self.batch.div_ceil(groups)),
        }
    }

    /// The last arguments of kernels that know of groups.
    pub(crate) fn args(&self, pixels: usize) -> [Arg; 4] {
        [pixels, self.batch, self.members, self.groups].map(Arg::from)
    }
}

/// Feature maps of a set of rows, or their gradient. Clones are the same memory.
#[derive(Clone, Debug)]
pub(crate) struct Map {
    pub buffer: Arc<Buffer>,
    pub element: Element,
    pub shape: Feature,
    pub rows: usize,
}

impl Map {
    /// Memory for the maps of `rows` rows.
    ///
    /// # Errors
    /// [`Error::Shape`] where they have 2^31 values or more; the device's.
    pub(crate) fn new(arena: &Arena, element: Element, shape: Feature, rows: usize) -> Result<Self> {
        let len = rows.checked_mul(shape.values()).filter(|&len| i32::try_from(len).is_ok());
        let Some(len) = len else {
            return Err(Error::Shape {
                operation: "network on CUDA",
                expected: "feature maps below 2^31 values: take a smaller batch".to_owned(),
                found: vec![rows, shape.channels, shape.height, shape.width],
            });
        };
        let buffer = Arc::new(arena.take(len * element.bytes())?);
        Ok(Self { buffer, element, shape, rows })
    }

    pub(crate) fn at(&self) -> u64 {
        self.buffer.at()
    }

    pub(crate) fn pixels(&self) -> usize {
        self.shape.height * self.shape.width
    }

    /// Values in all.
    pub(crate) fn len(&self) -> usize {
        self.rows * self.pixels() * self.shape.channels
    }

    pub(crate) fn bytes(&self) -> usize {
        self.len() * self.element.bytes()
    }

    /// Lanes of a kernel over this map and maps of `others` channels.
    pub(crate) fn lanes(&self, others: &[usize]) -> usize {
        self.element.lanes(&[&[self.shape.channels], others].concat())
    }

    /// The arguments that describe a shortcut from this map into a sum of `sum`'s shape, at `lanes`.
    fn skip_args(&self, sum: &Feature, lanes: usize) -> [Arg; 5] {
        let stride = if self.shape.height == sum.height { 1 } else { 2 };
        [self.shape.channels / lanes, stride, sum.width, self.shape.width, self.pixels()].map(Arg::from)
    }
}

/// The shortcut of a sum.
#[derive(Clone, Copy)]
pub(crate) enum Skip<'a> {
    None,
    Map(&'a Map),
    Normed(&'a Map, &'a Norm),
}

impl Skip<'_> {
    pub(crate) fn channels(&self) -> Vec<usize> {
        match self {
            Skip::None => Vec::new(),
            Skip::Map(map) | Skip::Normed(map, _) => vec![map.shape.channels],
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match self {
            Skip::None => 0,
            Skip::Map(map) | Skip::Normed(map, _) => map.bytes(),
        }
    }

    /// Address and shape, for the sum `to`; null where there is none.
    pub(crate) fn args(&self, to: &Map, lanes: usize) -> (Arg, [Arg; 5]) {
        match self {
            Skip::None => (Arg::At(0), [0_usize; 5].map(Arg::from)),
            Skip::Map(map) | Skip::Normed(map, _) => (Arg::At(map.at()), map.skip_args(&to.shape, lanes)),
        }
    }
}

/// An elementwise kernel over `map`'s values.
fn each(backend: &dyn Backend, kernel: &'static str, map: &Map, args: &[Arg], bytes: usize) -> Result<()> {
    let grid = elementwise(map.len());
    // SAFETY: every caller passes the kernel's own arguments, over maps whose shapes it has checked.
    unsafe { backend.launch(&Launch { kernel, lanes: None, element: map.element, grid, args, bytes }) }
}

/// A kernel by columns over `map`'s vectors of `lanes` channels; `norms` are the rows where it reads a norm's table.
pub(crate) fn each_vector(
    backend: &dyn Backend,
    kernel: &'static str,
    map: &Map,
    lanes: usize,
    norms: Option<Rows>,
    args: &[Arg],
    bytes: usize,
) -> Result<()> {
    let columns = map.shape.channels / lanes;
    let (spans, rows) = norms.map_or((1, map.rows), |rows| rows.spans());
    let at_a_time = backend.at_a_time(kernel, Some(lanes), map.element)?;
    let grid = by_columns(rows * map.pixels() * columns, columns, spans, at_a_time);
    // SAFETY: every caller passes the kernel's own arguments, over maps whose shapes it has checked.
    unsafe { backend.launch(&Launch { kernel, lanes: Some(lanes), element: map.element, grid, args, bytes }) }
}

/// The network's input: (images - mean) / std, channels last.
pub(crate) fn image_in(
    backend: &dyn Backend,
    images: u64,
    mean: &Buffer,
    std: &Buffer,
    to: &Map,
) -> Result<()> {
    let sizes = [to.len(), to.shape.channels, to.pixels()].map(Arg::from);
    let args =
        [&[Arg::At(images), Arg::At(mean.at()), Arg::At(std.at()), Arg::At(to.at())][..], &sizes].concat();
    each(backend, "image_in", to, &args, to.len() * 4 + to.bytes())
}

/// The gradient by the images (f32, planar) from that by the input of every row: each image's rows are added up.
pub(crate) fn image_grad(
    backend: &dyn Backend,
    grads: &Map,
    std: &Buffer,
    to: u64,
    images: usize,
) -> Result<()> {
    let count = grads.len() / grads.rows * images;
    let sizes = [count, grads.shape.channels, grads.pixels(), grads.rows / images].map(Arg::from);
    let args = [&[Arg::At(grads.at()), Arg::At(std.at()), Arg::At(to)][..], &sizes].concat();
    each(backend, "image_grad", grads, &args, grads.bytes() + count * 4)
}

/// A map as f32, planar.
pub(crate) fn map_out(backend: &dyn Backend, map: &Map, to: u64) -> Result<()> {
    let sizes = [map.len(), map.shape.channels, map.pixels()].map(Arg::from);
    let args = [&[Arg::At(map.at()), Arg::At(to)][..], &sizes].concat();
    each(backend, "map_out", map, &args, map.bytes() + map.len() * 4)
}

/// A map from f32, planar.
pub(crate) fn map_in(backend: &dyn Backend, from: u64, to: &Map) -> Result<()> {
    let sizes = [to.len(), to.shape.channels, to.pixels()].map(Arg::from);
    let args = [&[Arg::At(from), Arg::At(to.at())][..], &sizes].concat();
    each(backend, "map_in", to, &args, to.bytes() + to.len() * 4)
}

/// z += shortcut.
pub(crate) fn add_skip(backend: &dyn Backend, z: &Map, skip: Skip<'_>) -> Result<()> {
    let lanes = z.lanes(&skip.channels());
    let (from, shape) = skip.args(z, lanes);
    let sizes = [z.len() / lanes, z.shape.channels / lanes, z.pixels()].map(Arg::from);
    let args = [&[Arg::At(z.at()), from][..], &shape, &sizes].concat();
    each_vector(backend, "add_skip", z, lanes, None, &args, 2 * z.bytes() + skip.bytes())
}

/// to = relu(norm(z) + shortcut).
pub(crate) fn join(
    backend: &dyn Backend,
    rows: Rows,
    z: &Map,
    norm: &Norm,
    skip: Skip<'_>,
    to: &Map,
) -> Result<()> {
    let lanes = z.lanes(&skip.channels());
    let (from, shape) = skip.args(to, lanes);
    let other = match skip {
        Skip::Normed(_, norm) => norm.table,
        _ => 0,
    };
    let sizes = [z.len() / lanes, z.shape.channels / lanes].map(Arg::from);
    let args = [
        &[Arg::At(z.at()), Arg::At(norm.table), from, Arg::At(other)][..],
        &shape,
        &[Arg::At(to.at())],
        &sizes,
        &rows.args(z.pixels()),
    ];
    let bytes = z.bytes() + skip.bytes() + to.bytes();
    each_vector(backend, "join", z, lanes, Some(rows), &args.concat(), bytes)
}

/// In place: grad = (grad + what the next block's shortcut hands back) where out > 0, and the sums over the norm's gradient,
/// where they are wanted.
#[allow(clippy::too_many_arguments)]
pub(crate) fn join_grad(
    backend: &dyn Backend,
    rows: Rows,
    grad: &Map,
    next: Option<&Map>,
    out: &Map,
    z: &Map,
    norm: &Norm,
    parts: &Parts,
    sums: Option<Grads>,
) -> Result<()> {
    let lanes = grad.lanes(&next.map(|next| next.shape.channels).into_iter().collect::<Vec<_>>());
    let (address, [columns, stride, next_width, width, _], next_columns, next_pixels) = match next {
        Some(next) => {
            (next.at(), grad.skip_args(&next.shape, lanes), next.shape.channels / lanes, next.pixels())
        }
        None => (0, [1_usize; 5].map(Arg::from), 0, 0),
    };
    let args = [
        &[Arg::At(grad.at()), Arg::At(address), columns, stride, next_width, width][..],
        &[next_columns.into(), next_pixels.into(), Arg::At(out.at()), Arg::At(z.at()), Arg::At(norm.table)],
        &sums.map_or(parts.no_args(lanes), |_| parts.args(lanes)),
        &rows.args(grad.pixels()),
        &sums.unwrap_or(Grads { gamma: 0, beta: 0, offsets: 0 }).args(),
    ];
    let read = next.map_or(0, Map::bytes) + out.bytes() + sums.map_or(0, |_| z.bytes());
    parts.launch(backend, "join_grad", grad.element, lanes, &args.concat(), 2 * grad.bytes() + read)
}

/// to = (accumulate ? to : 0) + what a shortcut from `to`'s map hands back, from the gradient of the sum.
pub(crate) fn spread(backend: &dyn Backend, grad: &Map, to: &Map, accumulate: bool) -> Result<()> {
    let lanes = to.lanes(&[grad.shape.channels]);
    let sizes = [to.len() / lanes, to.shape.channels / lanes, usize::from(accumulate)].map(Arg::from);
    let args = [
        &[Arg::At(grad.at())][..],
        &to.skip_args(&grad.shape, lanes),
        &[(grad.shape.channels / lanes).into(), grad.pixels().into(), Arg::At(to.at())],
        &sizes,
    ];
    let bytes = grad.bytes() + (1 + usize::from(accumulate)) * to.bytes();
    each_vector(backend, "spread", to, lanes, None, &args.concat(), bytes)
}

/// Channels that a block of `pool` works on (`POOL_TILE` in pool.cu).
const POOL_TILE: usize = 32;

/// Mean over pixels of the map, or of relu(norm(map)), as f32.
pub(crate) fn pool(backend: &dyn Backend, rows: Rows, z: &Map, norm: Option<&Norm>, to: &Map) -> Result<()> {
    let args = [
        &[Arg::At(z.at()), Arg::At(norm.map_or(0, |norm| norm.table)), Arg::At(to.at())][..],
        &[z.shape.channels.into()],
        &rows.args(z.pixels()),
    ];
    let grid = [z.rows, z.shape.channels.div_ceil(POOL_TILE), 1];
    // SAFETY: the kernel's own arguments; `to` holds a value for each row and channel of `z`.
    unsafe {
        backend.launch(&Launch {
            kernel: "pool",
            lanes: None,
            element: z.element,
            grid,
            args: &args.concat(),
            bytes: z.bytes() + to.bytes(),
        })
    }
}

/// Its gradient, from that of the pooled features (f32).
pub(crate) fn pool_grad(backend: &dyn Backend, grad: &Map, to: &Map, accumulate: bool) -> Result<()> {
    let sizes = [to.len(), to.shape.channels, to.pixels(), usize::from(accumulate)].map(Arg::from);
    let args = [&[Arg::At(grad.at()), Arg::At(to.at())][..], &sizes].concat();
    let bytes = grad.bytes() + (1 + usize::from(accumulate)) * to.bytes();
    each(backend, "pool_grad", to, &args, bytes)
}
