//! Launches of losses over rows of logits, of what a step leaves for its log, and of perturbations.

use super::backend::{Arg, Backend, Element, Launch, elementwise};
use crate::error::Result;
use crate::ops::rows::{Divergence, Rows};

/// Rows that a block works on (`ROWS` in rows.cu).
const ROWS: usize = 8;

/// Blocks for the rows.
fn grid(of: Rows) -> [usize; 3] {
    [of.rows.div_ceil(ROWS), 1, 1]
}

/// # Safety
/// As [`Backend::launch`].
unsafe fn launch(
    backend: &dyn Backend,
    kernel: &'static str,
    grid: [usize; 3],
    args: &[&[Arg]],
    floats: usize,
) -> Result<()> {
    let args = args.concat();
    let launch = Launch { kernel, lanes: None, element: Element::F32, grid, args: &args, bytes: 4 * floats };
    // SAFETY: the caller's.
    unsafe { backend.launch(&launch) }
}

/// softmax(logits / temperature) of each row.
///
/// # Safety
/// Both addresses must hold the rows, as those of all functions here must hold what they are said to.
pub(crate) unsafe fn probs(
    backend: &dyn Backend,
    (logits, to): (u64, u64),
    of: Rows,
    temperature: f64,
) -> Result<()> {
    let args = [of.rows.into(), of.classes.into(), inverse(temperature)];
    // SAFETY: the caller's.
    unsafe { launch(backend, "row_probs", grid(of), &[&at([logits, to]), &args], 2 * of.values()) }
}

/// Its gradient by the logits, from `probs` and the gradient by them.
///
/// # Safety
/// As [`probs`].
pub(crate) unsafe fn probs_grad(
    backend: &dyn Backend,
    (probs, grads, to): (u64, u64, u64),
    of: Rows,
    temperature: f64,
) -> Result<()> {
    let args = [of.rows.into(), of.classes.into(), inverse(temperature)];
    // SAFETY: the caller's.
    unsafe { launch(backend, "row_probs_grad", grid(of), &[&at([probs, grads, to]), &args], 3 * of.values()) }
}

/// The largest value of each row.
///
/// # Safety
/// As [`probs`], with a float a row at `to`.
pub(crate) unsafe fn largest(backend: &dyn Backend, (values, to): (u64, u64), of: Rows) -> Result<()> {
    let args = [of.rows.into(), of.classes.into()];
    // SAFETY: the caller's.
    unsafe { launch(backend, "row_largest", grid(of), &[&at([values, to]), &args], of.values()) }
}

/// Losses of the rows and the gradient of their mean, given the labels of `batch` images.
///
/// # Safety
/// As [`probs`], with a float a row at `losses`, and labels below the number of classes.
pub(crate) unsafe fn cross_entropy(
    backend: &dyn Backend,
    (logits, labels): (u64, u64),
    (losses, grads): (u64, u64),
    of: Rows,
    batch: usize,
) -> Result<()> {
    let args = [of.rows.into(), batch.into(), of.classes.into()];
    let memory = at([logits, labels, losses, grads]);
    // SAFETY: the caller's.
    unsafe { launch(backend, "row_cross_entropy", grid(of), &[&memory, &args], 2 * of.values()) }
}

/// Losses of the rows and the gradient of their mean, given `target_rows` rows of targets, again and again.
///
/// # Safety
/// As [`cross_entropy`].
pub(crate) unsafe fn divergence(
    backend: &dyn Backend,
    (targets, logits): (u64, u64),
    (losses, grads): (u64, u64),
    of: Rows,
    target_rows: usize,
    kind: Divergence,
) -> Result<()> {
    let args = [
        of.rows.into(),
        target_rows.into(),
        of.classes.into(),
        inverse(kind.temperature),
        usize::from(kind.with_entropy).into(),
    ];
    let memory = at([targets, logits, losses, grads]);
    // SAFETY: the caller's.
    unsafe { launch(backend, "row_divergence", grid(of), &[&memory, &args], 3 * of.values()) }
}

/// 1 for each row whose largest logit is its label's.
///
/// # Safety
/// As [`cross_entropy`].
pub(crate) unsafe fn hits(
    backend: &dyn Backend,
    (logits, labels, to): (u64, u64, u64),
    of: Rows,
    batch: usize,
) -> Result<()> {
    let args = [of.rows.into(), batch.into(), of.classes.into()];
    // SAFETY: the caller's.
    unsafe { launch(backend, "row_hits", grid(of), &[&at([logits, labels, to]), &args], of.values()) }
}

/// The mean of `count` values.
///
/// # Safety
/// As [`probs`].
pub(crate) unsafe fn mean(backend: &dyn Backend, (values, to): (u64, u64), count: usize) -> Result<()> {
    // SAFETY: the caller's.
    unsafe { launch(backend, "mean_of", [1, 1, 1], &[&at([values, to]), &[count.into()]], count) }
}

/// Four numbers to `to`: total, ce, kd (0 where its address is 0), and the sum of `count` hits.
///
/// # Safety
/// As [`probs`].
pub(crate) unsafe fn tally(
    backend: &dyn Backend,
    losses: [u64; 3],
    (hits, to): (u64, u64),
    count: usize,
) -> Result<()> {
    let memory = [&at(losses)[..], &at([hits, to])];
    // SAFETY: the caller's.
    unsafe { launch(backend, "step_log", [1, 1, 1], &[memory[0], memory[1], &[count.into()]], count) }
}

/// a x + b y, of single values.
///
/// # Safety
/// As [`probs`].
pub(crate) unsafe fn blend(
    backend: &dyn Backend,
    (x, y, to): (u64, u64, u64),
    (a, b): (f64, f64),
) -> Result<()> {
    // SAFETY: the caller's.
    unsafe { launch(backend, "blend_values", [1, 1, 1], &[&at([x, y, to]), &[float(a), float(b)]], 3) }
}

/// `count` values times the one at `by`.
///
/// # Safety
/// As [`probs`].
pub(crate) unsafe fn times(
    backend: &dyn Backend,
    (values, by, to): (u64, u64, u64),
    count: usize,
) -> Result<()> {
    let memory = at([values, by, to]);
    // SAFETY: the caller's.
    unsafe { launch(backend, "scale_by", elementwise(count), &[&memory, &[count.into()]], 2 * count) }
}

/// Each image's values over their length, taken as `least` at least.
///
/// # Safety
/// As [`probs`].
pub(crate) unsafe fn unit(
    backend: &dyn Backend,
    (values, to): (u64, u64),
    (images, dimension): (usize, usize),
    least: f64,
) -> Result<()> {
    let args = [dimension.into(), float(least)];
    // SAFETY: the caller's.
    unsafe {
        launch(backend, "unit_images", [images, 1, 1], &[&at([values, to]), &args], 2 * images * dimension)
    }
}

/// clip(x + size * d) to [0, 1]; `size` is multiplied by an image's factor where their address is not 0.
///
/// # Safety
/// As [`probs`].
pub(crate) unsafe fn clipped_step(
    backend: &dyn Backend,
    (images, directions, factors, to): (u64, u64, u64, u64),
    (count, dimension): (usize, usize),
    size: f64,
) -> Result<()> {
    let args = [count.into(), dimension.into(), float(size)];
    let memory = at([images, directions, factors, to]);
    // SAFETY: the caller's.
    unsafe { launch(backend, "clipped_step", elementwise(count), &[&memory, &args], 3 * count) }
}

fn at<const N: usize>(addresses: [u64; N]) -> [Arg; N] {
    addresses.map(Arg::At)
}

fn float(value: f64) -> Arg {
    Arg::Float(value as f32)
}

fn inverse(temperature: f64) -> Arg {
    float(1.0 / temperature)
}
