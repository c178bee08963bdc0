//! Which of cuDNN's algorithms is taken.

use std::sync::Arc;

use candle_core::cuda::cudarc::cudnn::sys::cudnnHandle_t;
use candle_core::cuda::cudarc::driver::CudaStream;
use candle_core::cuda::cudarc::driver::sys::CUevent_flags;

use super::super::backend::{Arena, Buffer};
use super::super::convolution::Call;
use super::super::device::failed;
use super::plan::{Memory, Plan};
use crate::error::Result;

/// Runs that a time is measured over.
const REPETITIONS: usize = 4;

/// Runs plans in memory that nobody reads.
pub(super) struct Timer<'a> {
    pub handle: cudnnHandle_t,
    pub stream: &'a Arc<CudaStream>,
    pub arena: &'a Arena,
}

impl Timer<'_> {
    /// The first of `plans` that runs where the choice `is_fixed`, else the fastest; one that does the epilogue too before
    /// any that does not. `None` where none runs.
    pub(super) fn choose(&self, call: &Call, plans: &[Plan], is_fixed: bool) -> Result<Option<Plan>> {
        let scratch = Scratch::new(self.arena, call)?;
        for plans in plans.chunk_by(|a, b| a.is_fused == b.is_fused) {
            let mut best: Option<(f32, Plan)> = None;
            for plan in plans {
                // The first run may load the algorithm's code.
                if self.milliseconds(plan, &scratch, 1)?.is_none() {
                    continue;
                }
                if is_fixed {
                    return Ok(Some(*plan));
                }
                let Some(time) = self.milliseconds(plan, &scratch, REPETITIONS)? else { continue };
                if best.is_none_or(|(least, _)| time < least) {
                    best = Some((time, *plan));
                }
            }
            if let Some((_, plan)) = best {
                return Ok(Some(plan));
            }
        }
        Ok(None)
    }

    /// Time of `count` runs; `None` where cuDNN refuses the plan after all.
    fn milliseconds(&self, plan: &Plan, scratch: &Scratch, count: usize) -> Result<Option<f32>> {
        let asked = |error| failed("timing cuDNN", error);
        let workspace = self.arena.private().take(plan.workspace)?;
        let flags = Some(CUevent_flags::CU_EVENT_DEFAULT);
        let start = self.stream.record_event(flags).map_err(asked)?;
        for _ in 0..count {
            // SAFETY: the scratch memory is of the call's sizes.
            if unsafe { plan.run(self.handle, &scratch.memory, workspace.at()) }.is_err() {
                return Ok(None);
            }
        }
        let end = self.stream.record_event(flags).map_err(asked)?;
        start.elapsed_ms(&end).map(Some).map_err(asked)
    }
}

/// Memory of one member's sizes, for measurements.
struct Scratch {
    memory: Memory,
    _buffers: [Buffer; 4],
}

impl Scratch {
    fn new(arena: &Arena, call: &Call) -> Result<Self> {
        let (arena, bytes) = (arena.private(), call.element.bytes());
        let buffers = [
            arena.take(call.batch * call.input_len() * bytes)?,
            arena.take(call.weights() * bytes)?,
            arena.take(call.batch * call.output_len() * bytes)?,
            arena.take(call.shape.channels_out * bytes)?,
        ];
        let [input, weight, output, bias] = [0, 1, 2, 3].map(|index| buffers[index].at());
        let memory = Memory { input, weight, output, bias, skip: output, accumulate: false };
        Ok(Self { memory, _buffers: buffers })
    }
}
