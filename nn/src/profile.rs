//! Where a step's time goes, by kind of operator: counters that cost nothing unless switched on. And how many operations it
//! asks for, which is always counted.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Kinds of work inside a network's passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Convolution, forward.
    Forward,
    /// Convolution, gradient by input.
    GradInput,
    /// Convolution, gradient by weight.
    GradWeight,
    /// Norm, ReLU, residual sums and copies into bordered images.
    Pointwise,
    /// Batch statistics and the sums of their gradients over the batch.
    Statistics,
    /// Packing of weights, and unpacking of their gradients.
    Weights,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 6] =
        [Kind::Forward, Kind::GradInput, Kind::GradWeight, Kind::Pointwise, Kind::Statistics, Kind::Weights];

    /// A few words for tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Forward => "convolution, forward",
            Kind::GradInput => "convolution, by input",
            Kind::GradWeight => "convolution, by weight",
            Kind::Pointwise => "norm, ReLU, sums, copies",
            Kind::Statistics => "batch statistics",
            Kind::Weights => "weights: pack, reduce",
        }
    }
}

static ENABLED: AtomicBool = AtomicBool::new(false);
static NANOSECONDS: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];
static BYTES: [AtomicU64; 6] = [const { AtomicU64::new(0) }; 6];

/// Sets the counters to zero and starts, or stops, counting. The counters are the process's. On a CUDA device counting
/// waits for each kernel, which slows steps down.
pub fn enable(on: bool) {
    for counter in NANOSECONDS.iter().chain(&BYTES) {
        counter.store(0, Ordering::Relaxed);
    }
    ENABLED.store(on, Ordering::Relaxed);
}

/// Whether the counters are on. Devices then run one kernel at a time.
#[cfg(feature = "cuda")]
pub(crate) fn is_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// What was counted of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The kind.
    pub kind: Kind,
    /// Time, summed over threads.
    pub time: Duration,
    /// On a CUDA device, bytes that its kernels read and wrote: each value of a map, image or parameter once a kernel,
    /// whether it came from a cache or not. 0 on the CPU.
    pub bytes: u64,
}

/// Every kind's counters since the last [`enable`].
pub fn counted() -> Vec<Counted> {
    let of = |kind: Kind| Counted {
        kind,
        time: Duration::from_nanos(NANOSECONDS[kind as usize].load(Ordering::Relaxed)),
        bytes: BYTES[kind as usize].load(Ordering::Relaxed),
    };
    Kind::ALL.into_iter().map(of).collect()
}

/// Counts bytes that are moved for `kind`.
#[cfg(feature = "cuda")]
pub(crate) fn moved(kind: Kind, bytes: usize) {
    if is_enabled() {
        BYTES[kind as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// Runs `work`, counted as `kind`.
#[inline]
pub(crate) fn measure<T>(kind: Kind, work: impl FnOnce() -> T) -> T {
    if !ENABLED.load(Ordering::Relaxed) {
        return work();
    }
    let start = Instant::now();
    let result = work();
    took(kind, start.elapsed());
    result
}

/// Counts time that work of `kind` took.
pub(crate) fn took(kind: Kind, time: Duration) {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    NANOSECONDS[kind as usize].fetch_add(nanoseconds, Ordering::Relaxed);
}

thread_local! {
    static OPERATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Floating-point operations of the passes that this thread has asked for so far, on any device: two for a multiply-add of
/// convolutions and classifiers. A forward pass is one such count of the network, a gradient by weight another, and one by
/// activations another.
pub fn operations() -> u64 {
    OPERATIONS.get()
}

/// Adds multiply-adds to [`operations`].
pub(crate) fn count(multiply_adds: u64) {
    OPERATIONS.set(OPERATIONS.get().wrapping_add(multiply_adds.wrapping_mul(2)));
}
