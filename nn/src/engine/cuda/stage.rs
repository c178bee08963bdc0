//! From a pass that was never run to one that is launched as a whole: the first run reserves memory and chooses algorithms, the
//! second is recorded.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::trial::Recorded;
use crate::engine::forward::Request;
use crate::error::Result;
use crate::ops::cuda::backend::Backend;

/// Passes of a kind after which recording it is given up. It is tried after the first, second, fourth and so on, for what other
/// threads do may spoil it.
const PATIENCE: u32 = 1 << 10;

/// Recordings that this process has launched.
static REPLAYS: AtomicU64 = AtomicU64::new(0);
/// Recordings that failed.
static REFUSALS: AtomicU64 = AtomicU64::new(0);

/// How many recorded passes this process has launched as a whole.
#[cfg_attr(not(feature = "cuda"), expect(unreachable_pub, reason = "public with CUDA"))]
pub fn replays() -> u64 {
    REPLAYS.load(Ordering::Relaxed)
}

/// How many recordings of passes have failed in this process: such a pass is launched a kernel at a time.
#[cfg_attr(not(feature = "cuda"), expect(unreachable_pub, reason = "public with CUDA"))]
pub fn refusals() -> u64 {
    REFUSALS.load(Ordering::Relaxed)
}

/// Counts a recording that failed.
pub(super) fn refused() {
    REFUSALS.fetch_add(1, Ordering::Relaxed);
}

/// What recordings have in common that serve the same call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    pub(super) request: Request,
    pub(super) weight_grads: bool,
}

/// A pass of that kind.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    pub(super) kind: Kind,
    pub(super) direction: &'static str,
    pub(super) members: usize,
    /// Whether it gives anything aside.
    pub(super) branches: bool,
}

impl fmt::Display for Pass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kind { request, weight_grads } = self.kind;
        let of = match (weight_grads, request.groups) {
            (true, _) => "that is trained",
            (false, Some(_)) => "as it is, by its batch's statistics",
            (false, None) => "as it is",
        };
        let Self { direction, members, .. } = self;
        write!(f, "the {direction} pass of {members} x {} images through a network {of}", request.batch)
    }
}

/// How far a recording is.
pub(super) enum Stage {
    /// It never ran.
    New,
    /// It ran so many times, so that its memory is reserved.
    Seen(u32),
    /// It is launched as a whole.
    Recorded(Recorded),
    /// It cannot be recorded.
    Refused,
}

impl Stage {
    /// Runs `work`, which is `pass`, or what was recorded of it. Records it the second time, where it `is_fixed` which addresses it
    /// names.
    pub(super) fn run(
        &mut self,
        backend: &dyn Backend,
        is_fixed: bool,
        pass: Pass,
        work: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        if let Stage::Seen(passes) = *self
            && is_fixed
            && passes.is_power_of_two()
        {
            match Recorded::new(backend, pass.to_string(), pass.branches, work) {
                Ok(recorded) => *self = Stage::Recorded(recorded),
                Err(error) => {
                    // An error of the work itself is one here.
                    work()?;
                    if passes == 1 {
                        let error = error.to_string();
                        let first = error.lines().next().unwrap_or_default();
                        eprintln!("{pass} runs a kernel at a time for now, more slowly: {first}");
                    }
                    refused();
                    *self = if passes < PATIENCE { Stage::Seen(passes + 1) } else { Stage::Refused };
                    return Ok(());
                }
            }
        }
        match self {
            Stage::Recorded(recorded) => {
                REPLAYS.fetch_add(1, Ordering::Relaxed);
                recorded.replay()
            }
            Stage::New => {
                work()?;
                *self = Stage::Seen(1);
                Ok(())
            }
            Stage::Seen(passes) => {
                work()?;
                if is_fixed {
                    *passes += 1;
                }
                Ok(())
            }
            Stage::Refused => work(),
        }
    }
}
