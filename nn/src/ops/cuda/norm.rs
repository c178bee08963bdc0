//! Launches of the batch norm: statistics and application forward; sums and gradient backward.

use super::backend::{Arg, Backend, Buffer, Element, Launch};
use super::parts::Parts;
use super::pointwise::{Map, Rows, Skip, each_vector};
use crate::error::Result;

/// A norm in one pass: the address of its table (prelude.cu).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub table: u64,
}

/// Floats of a norm's table.
pub(crate) fn table_len(channels: usize, groups: usize) -> usize {
    4 * channels * groups
}

/// Where a norm's parameters and running statistics lie.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Places {
    pub gamma: u64,
    pub beta: u64,
    /// Of mean and variance; `None` where they are to stay as they are.
    pub running: Option<[u64; 2]>,
}

/// Adds the shortcut to z, and from the sum's statistics makes the norm's table; moves the running statistics, where their
/// places are given.
#[allow(clippy::too_many_arguments)]
pub(crate) fn moments(
    backend: &dyn Backend,
    rows: Rows,
    z: &Map,
    skip: Skip<'_>,
    parts: &Parts,
    places: Places,
    norm: &Norm,
    (epsilon, momentum): (f64, f64),
) -> Result<()> {
    let lanes = z.lanes(&skip.channels());
    let (from, shape) = skip.args(z, lanes);
    let Places { gamma, beta, running } = places;
    let [running_mean, running_var] = running.unwrap_or([0; 2]);
    let args = [
        &[Arg::At(z.at()), from][..],
        &shape,
        &parts.args(lanes),
        &rows.args(z.pixels()),
        &[gamma, beta, running_mean, running_var, norm.table].map(Arg::At),
        &[Arg::Double(epsilon), Arg::Double(momentum)],
    ];
    // With a shortcut the sum is written too.
    let bytes = match skip {
        Skip::None => z.bytes(),
        skip => 2 * z.bytes() + skip.bytes(),
    };
    parts.launch(backend, "moments", z.element, lanes, &args.concat(), bytes)
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

/// Where the sums over a norm's gradient go: the gradients of gamma and beta, and the norm's offsets and slopes; 0 for what
/// is not wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grads {
    pub gamma: u64,
    pub beta: u64,
    pub offsets: u64,
}

impl Grads {
    /// The last arguments of kernels that sum for them.
    pub(crate) fn args(&self) -> [Arg; 3] {
        [self.gamma, self.beta, self.offsets].map(Arg::At)
    }
}

/// The sums over the gradient behind a norm, which counts where norm(z) > 0 if `masked`.
#[allow(clippy::too_many_arguments)]
pub(crate) fn grad_sums(
    backend: &dyn Backend,
    rows: Rows,
    grad: &Map,
    z: &Map,
    norm: &Norm,
    masked: bool,
    parts: &Parts,
    grads: Grads,
) -> Result<()> {
    let lanes = z.lanes(&[]);
    let args = [
        &[grad.at(), z.at(), norm.table].map(Arg::At)[..],
        &parts.args(lanes),
        &[usize::from(masked).into()],
        &rows.args(z.pixels()),
        &grads.args(),
    ];
    parts.launch(backend, "grad_sums", z.element, lanes, &args.concat(), grad.bytes() + z.bytes())
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
