//! Launches of the batch norm: statistics and application forward; sums, coefficients and gradient backward.

use super::backend::{Arena, Arg, Backend, Buffer, Element, Launch, THREADS};
use super::pointwise::{Map, Rows, Skip, each_vector};
use crate::error::Result;

/// Channels that a block of `batch_statistics` and `grad_coefficients` works on (`STATISTICS_TILE` in statistics.cu).
const STATISTICS_TILE: usize = 8;
/// Vector columns of a block that sums, at most: a warp reads neighbouring vectors.
const COLUMNS: usize = 32;
/// Parts that a group's pixels are summed in, at most.
const PARTS: usize = 256;
/// Pixels that a thread sums at least, before there are more parts.
const PIXELS_A_THREAD: usize = 8;

/// A norm in one pass: the address of its table (prelude.cu), and of its gradient's table where there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub table: u64,
    pub channels: usize,
}

/// Floats of a norm's table.
pub(crate) fn table_len(channels: usize, groups: usize) -> usize {
    4 * channels * groups
}

/// Partial sums of a map on the way to its norm's statistics, or to its norm's gradient. The cut depends on the map's
/// shape alone, so the sums have one order.
pub(crate) struct Parts {
    buffer: Buffer,
    channels: usize,
    pixels: usize,
    count: usize,
}

impl Parts {
    pub(crate) fn new(arena: &Arena, map: &Map, rows: Rows) -> Result<Self> {
        let channels = map.shape.channels;
        let lanes = THREADS / tile(channels, 4);
        let pixels = (rows.count() / rows.groups).max(1) * map.pixels();
        let count = (pixels / (lanes * PIXELS_A_THREAD)).clamp(1, PARTS);
        let buffer = arena.floats(2 * channels * count * rows.groups)?;
        Ok(Self { buffer, channels, pixels: map.pixels(), count })
    }

    pub(crate) fn at(&self) -> u64 {
        self.buffer.at()
    }

    /// Columns of a block's threads.
    pub(crate) fn tile(&self, lanes: usize) -> usize {
        tile(self.channels, lanes)
    }

    /// Launches a kernel that fills the parts and moves `bytes`.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn launch(
        &self,
        backend: &dyn Backend,
        kernel: &'static str,
        element: Element,
        lanes: usize,
        rows: Rows,
        args: &[Arg],
        bytes: usize,
    ) -> Result<()> {
        let grid = [self.count, (self.channels / lanes).div_ceil(self.tile(lanes)), rows.groups];
        // SAFETY: the callers in this folder pass the kernel's own arguments; the buffer has room for every part.
        unsafe { backend.launch(&Launch { kernel, lanes: Some(lanes), element, grid, args, bytes }) }
    }
}

fn tile(channels: usize, lanes: usize) -> usize {
    channels.div_ceil(lanes).next_power_of_two().min(COLUMNS)
}

/// Adds the shortcut to z, and each part's mean and squared distances.
pub(crate) fn moments(
    backend: &dyn Backend,
    rows: Rows,
    z: &Map,
    skip: Skip<'_>,
    parts: &Parts,
) -> Result<()> {
    let lanes = z.lanes(&skip.channels());
    let (from, shape) = skip.args(z, lanes);
    let args = [
        &[Arg::At(z.at()), from][..],
        &shape,
        &[Arg::At(parts.at()), (z.shape.channels / lanes).into(), parts.tile(lanes).into()],
        &rows.args(z.pixels()),
    ];
    // With a shortcut the sum is written too.
    let bytes = match skip {
        Skip::None => z.bytes(),
        skip => 2 * z.bytes() + skip.bytes(),
    };
    parts.launch(backend, "moments", z.element, lanes, rows, &args.concat(), bytes)
}

/// Where a norm's parameters and running statistics lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub gamma: u64,
    pub beta: u64,
    /// Of mean and variance; `None` where they are to stay as they are.
    pub running: Option<[u64; 2]>,
}

/// The norm's table from the parts of [`moments`]; moves the running statistics, where their places are given.
pub(crate) fn batch_statistics(
    backend: &dyn Backend,
    rows: Rows,
    parts: &Parts,
    places: Places,
    norm: &Norm,
    (epsilon, momentum): (f64, f64),
) -> Result<()> {
    let Places { gamma, beta, running } = places;
    let [running_mean, running_var] = running.unwrap_or([0; 2]);
    let args = [
        &[parts.at(), gamma, beta, running_mean, running_var, norm.table].map(Arg::At)[..],
        &[norm.channels.into(), parts.count.into()],
        &rows.args(parts.pixels),
        &[Arg::Double(epsilon), Arg::Double(momentum)],
    ];
    let grid = [norm.channels.div_ceil(STATISTICS_TILE), rows.groups, 1];
    f32_launch(backend, "batch_statistics", grid, &args.concat())
}

/// Every norm's table from the running statistics.
pub(crate) fn running_statistics(
    backend: &dyn Backend,
    norms: &Buffer,
    count: usize,
    (params, running, tables): (u64, u64, u64),
    epsilon: f64,
) -> Result<()> {
    let args = [norms.at(), params, running, tables].map(Arg::At);
    let args = [&args[..], &[Arg::Double(epsilon)]].concat();
    f32_launch(backend, "running_statistics", [count, 1, 1], &args)
}

/// The biases of the folded norms, by three words a norm at `folds`; their tables become identities.
pub(crate) fn fold_norms(
    backend: &dyn Backend,
    folds: &Buffer,
    count: usize,
    tables: u64,
    biases: (u64, Element),
) -> Result<()> {
    let args = [folds.at(), tables, biases.0].map(Arg::At);
    // SAFETY: the kernel's own arguments; the words name places within the tables and biases.
    unsafe {
        backend.launch(&Launch {
            kernel: "fold_norms",
            lanes: None,
            element: biases.1,
            grid: [count, 1, 1],
            args: &args,
            bytes: 0,
        })
    }
}

/// to = relu(norm(z)).
pub(crate) fn norm_relu(backend: &dyn Backend, rows: Rows, z: &Map, norm: &Norm, to: &Map) -> Result<()> {
    let lanes = z.lanes(&[]);
    let args = [
        &[z.at(), norm.table, to.at()].map(Arg::At)[..],
        &[z.len() / lanes, z.shape.channels / lanes].map(Arg::from),
        &rows.args(z.pixels()),
    ];
    each_vector(backend, "norm_relu", z, lanes, Some(rows), &args.concat(), z.bytes() + to.bytes())
}

/// Each part's sums of the gradient behind a norm, which counts where norm(z) > 0 if `masked`.
pub(crate) fn grad_sums(
    backend: &dyn Backend,
    rows: Rows,
    grad: &Map,
    z: &Map,
    norm: &Norm,
    masked: bool,
    parts: &Parts,
) -> Result<()> {
    let lanes = z.lanes(&[]);
    let args = [
        &[grad.at(), z.at(), norm.table, parts.at()].map(Arg::At)[..],
        &[z.shape.channels / lanes, parts.tile(lanes), usize::from(masked)].map(Arg::from),
        &rows.args(z.pixels()),
    ];
    parts.launch(backend, "grad_sums", z.element, lanes, rows, &args.concat(), grad.bytes() + z.bytes())
}

/// From the parts' sums: the gradients of gamma and beta at the given addresses, and the norm's offsets and slopes at
/// `offsets`; 0 for what is not wanted.
pub(crate) fn grad_coefficients(
    backend: &dyn Backend,
    rows: Rows,
    parts: &Parts,
    norm: &Norm,
    (gamma, beta): (u64, u64),
    offsets: u64,
) -> Result<()> {
    let args = [
        &[parts.at(), norm.table, gamma, beta, offsets].map(Arg::At)[..],
        &[norm.channels.into(), parts.count.into()],
        &rows.args(parts.pixels),
    ];
    f32_launch(backend, "grad_coefficients", [norm.channels.div_ceil(STATISTICS_TILE), 1, 1], &args.concat())
}

/// to = the norm's gradient by z, plus what arrives at z directly.
#[allow(clippy::too_many_arguments)]
pub(crate) fn norm_grad(
    backend: &dyn Backend,
    rows: Rows,
    grad: &Map,
    z: &Map,
    norm: &Norm,
    offsets: u64,
    raw: Option<&Map>,
    masked: bool,
    to: &Map,
) -> Result<()> {
    let lanes = z.lanes(&[]);
    let args = [
        &[grad.at(), z.at(), norm.table, offsets, raw.map_or(0, Map::at), to.at()].map(Arg::At)[..],
        &[z.len() / lanes, z.shape.channels / lanes, usize::from(masked)].map(Arg::from),
        &rows.args(z.pixels()),
    ];
    let bytes = grad.bytes() + z.bytes() + raw.map_or(0, Map::bytes) + to.bytes();
    each_vector(backend, "norm_grad", z, lanes, Some(rows), &args.concat(), bytes)
}

/// A kernel that sees no feature map.
fn f32_launch(backend: &dyn Backend, kernel: &'static str, grid: [usize; 3], args: &[Arg]) -> Result<()> {
    // SAFETY: the callers above pass the kernel's own arguments.
    unsafe { backend.launch(&Launch { kernel, lanes: None, element: Element::F32, grid, args, bytes: 0 }) }
}
