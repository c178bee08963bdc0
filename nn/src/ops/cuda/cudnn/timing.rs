//! Which of the ways to compute a convolution is the fastest.

use std::sync::Arc;

use candle_core::cuda::cudarc::cudnn::result::CudnnError;
use candle_core::cuda::cudarc::cudnn::sys::cudnnHandle_t;
use candle_core::cuda::cudarc::driver::CudaStream;
use candle_core::cuda::cudarc::driver::sys::CUevent_flags;

use super::super::backend::{Arena, Buffer};
use super::super::convolution::{self, Call, Epilogue};
use super::super::device::failed;
use super::super::implicit_gemm;
use super::plan::{Memory, Plan};
use crate::error::Result;

/// Runs that a time is measured over.
const REPETITIONS: usize = 4;

/// Runs a call in memory that nobody reads.
pub(super) struct Timer<'a> {
    handle: cudnnHandle_t,
    stream: &'a Arc<CudaStream>,
    arena: &'a Arena,
    call: Call,
    _buffers: [Buffer; 4],
}

impl<'a> Timer<'a> {
    pub(super) fn new(
        handle: cudnnHandle_t,
        stream: &'a Arc<CudaStream>,
        arena: &'a Arena,
        call: &Call,
    ) -> Result<Self> {
        let (private, bytes) = (arena.private(), call.element.bytes());
        let buffers = [
            private.take(call.rows().max(call.input_rows) * call.input_len() * bytes)?,
            private.take(call.members * call.weights() * bytes)?,
            private.take(call.rows() * call.output_len() * bytes)?,
            private.take(call.shape.channels_out * bytes)?,
        ];
        let [input, weight, output, bias] = [0, 1, 2, 3].map(|index| buffers[index].at());
        let epilogue = call
            .epilogue
            .as_ref()
            .map(|epilogue| Epilogue { bias, skip: if epilogue.skip == 0 { 0 } else { output } });
        let call = Call { input, weight, output, epilogue, ..*call };
        Ok(Self { handle, stream, arena, call, _buffers: buffers })
    }

    /// The first of `plans` that runs where the choice `is_fixed`, else the fastest; one that does the epilogue too before
    /// any that does not. `None` where none runs.
    pub(super) fn choose(&self, plans: &[Plan], is_fixed: bool) -> Result<Option<Plan>> {
        for plans in plans.chunk_by(|a, b| a.is_fused == b.is_fused) {
            let mut best: Option<(f32, Plan)> = None;
            for plan in plans {
                // The first run may load the algorithm's code.
                if self.of_one_member(plan, 1)?.is_none() {
                    continue;
                }
                if is_fixed {
                    return Ok(Some(*plan));
                }
                let Some(time) = self.of_one_member(plan, REPETITIONS)? else { continue };
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

    /// Milliseconds of the whole call by cuDNN, a member after the other, and by the kernels for tensor cores.
    pub(super) fn compare(&self, plan: &Plan) -> Result<[f32; 2]> {
        let call = &self.call;
        let workspace = self.arena.private().take(plan.workspace)?;
        let library = || {
            // SAFETY: the scratch memory is of the call's sizes.
            unsafe {
                plan.run_members(self.handle, call, workspace.at())
                    .map_err(|error| failed("timing cuDNN", error))?;
                if plan.is_fused { Ok(()) } else { convolution::finish(self.arena.backend(), call) }
            }
        };
        // SAFETY: as above; the caller has seen that the call fits.
        let own = || unsafe { implicit_gemm::run(self.arena, call) };
        // The first run of each may load its code.
        library()?;
        own()?;
        Ok([self.milliseconds(REPETITIONS, library)??, self.milliseconds(REPETITIONS, own)??])
    }

    /// Time of `count` runs for one member; `None` where cuDNN refuses the plan after all.
    fn of_one_member(&self, plan: &Plan, count: usize) -> Result<Option<f32>> {
        let workspace = self.arena.private().take(plan.workspace)?;
        let memory = Memory::of(&self.call, 0);
        // SAFETY: the scratch memory is of the call's sizes.
        let run = || unsafe { plan.run(self.handle, &memory, workspace.at()) };
        Ok(self.milliseconds::<CudnnError>(count, run)?.ok())
    }

    /// Time of `count` runs, or why one of them failed.
    fn milliseconds<E>(
        &self,
        count: usize,
        mut run: impl FnMut() -> std::result::Result<(), E>,
    ) -> Result<std::result::Result<f32, E>> {
        let asked = |error| failed("timing convolutions", error);
        let flags = Some(CUevent_flags::CU_EVENT_DEFAULT);
        let start = self.stream.record_event(flags).map_err(asked)?;
        for _ in 0..count {
            if let Err(error) = run() {
                return Ok(Err(error));
            }
        }
        let end = self.stream.record_event(flags).map_err(asked)?;
        start.elapsed_ms(&end).map(Ok).map_err(asked)
    }
}
