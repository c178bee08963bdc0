//! Which of the ways to compute a convolution run, and how long they take.

use std::cell::Cell;
use std::iter::repeat_with;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::cuda::cudarc::cudnn::sys::cudnnHandle_t;
use candle_core::cuda::cudarc::driver::sys::CUevent_flags;
use random::Stream;

use super::super::backend::{Arena, Arg, Buffer, Element, Launch};
use super::super::convolution::{self, Call, Epilogue};
use super::super::device::failed;
use super::super::implicit_gemm;
use super::is_out_of_memory;
use super::plan::{Answer, Plan};
use super::spread::Spread;
use crate::error::Result;

/// Runs that a time is measured over, of which the least of some rounds counts.
const RUNS: usize = 2;
const ROUNDS: usize = 3;
/// Of times that differ by no more, that of the way that comes first is taken: mostly the same one in every process.
pub(super) const NEARLY: f32 = 1.02;
/// Cycles for which the device is held up before: about a millisecond, in which the host launches the runs.
const HELD: u64 = 2_000_000;
/// Cycles for which it is busy before a process's first measurement: a device that was idle needs some time to reach its clock,
/// and what is measured first would look slower.
const WAKE: u64 = 50 * HELD;

static IS_AWAKE: AtomicBool = AtomicBool::new(false);

/// What calls are timed on, over and over: factors that are all alike, as fresh memory mostly has them, take less power, and the
/// clock stays higher than a step's would.
static NORMALS: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let mut draws = Stream::new(0, "timing").draws(0, 0);
    repeat_with(|| draws.normal()).take(1 << 16).collect()
});

/// Runs a call in memory that nobody reads.
pub(super) struct Timer<'a> {
    handle: cudnnHandle_t,
    spread: &'a Spread,
    /// Memory that is given back afterwards.
    arena: Arena,
    call: Call,
    _buffers: [Buffer; 4],
}

impl<'a> Timer<'a> {
    /// Nobody of this process may record.
    pub(super) fn new(handle: cudnnHandle_t, spread: &'a Spread, arena: &Arena, call: &Call) -> Result<Self> {
        let arena = arena.private();
        let filled = |count| filled(&arena, spread, call.element, count);
        let buffers = [
            filled(call.rows().max(call.input_rows) * call.input_len())?,
            filled(call.members * call.weights())?,
            filled(call.rows() * call.output_len())?,
            filled(call.shape.channels_out)?,
        ];
        let [input, weight, output, bias] = [0, 1, 2, 3].map(|index| buffers[index].at());
        let epilogue = call
            .epilogue
            .as_ref()
            .map(|epilogue| Epilogue { bias, skip: if epilogue.skip == 0 { 0 } else { output } });
        let call = Call { input, weight, output, epilogue, ..*call };
        let timer = Self { handle, spread, arena, call, _buffers: buffers };
        if !IS_AWAKE.swap(true, Ordering::Relaxed) {
            timer.hold(WAKE)?;
        }
        Ok(timer)
    }

    /// Keeps the device busy.
    fn hold(&self, cycles: u64) -> Result<()> {
        let launch = Launch {
            kernel: "hold",
            lanes: None,
            element: self.call.element,
            grid: [1, 1, 1],
            args: &[Arg::Long(cycles)],
            bytes: 0,
        };
        // SAFETY: the kernel touches no memory.
        unsafe { self.arena.backend().launch(&launch) }
    }

    /// The first of `plans` that runs.
    pub(super) fn first(&self, plans: &[Plan]) -> Result<Option<Plan>> {
        for plan in plans {
            if self.runs(plan)? {
                return Ok(Some(*plan));
            }
        }
        Ok(None)
    }

    /// The first of `plans` that is [nearly](NEARLY) as fast as the fastest, and its milliseconds for the whole call.
    pub(super) fn fastest(&self, plans: &[Plan]) -> Result<Option<(f32, Plan)>> {
        let mut timed = Vec::new();
        for plan in plans {
            // The first run may load the algorithm's code.
            if self.runs(plan)? {
                timed.extend(self.time(plan)?.map(|time| (time, *plan)));
            }
        }
        let least = timed.iter().map(|(time, _)| *time).fold(f32::INFINITY, f32::min);
        Ok(timed.into_iter().find(|(time, _)| *time <= NEARLY * least))
    }

    /// Milliseconds of the whole call by cuDNN; none where it refuses what it has run before.
    fn time(&self, plan: &Plan) -> Result<Option<f32>> {
        let is_refused = Cell::new(false);
        let time = self.milliseconds(|| match self.run(plan)? {
            Err(error) if is_out_of_memory(error) => Err(failed("timing cuDNN", error)),
            answer => {
                is_refused.set(is_refused.get() || answer.is_err());
                Ok(())
            }
        })?;
        Ok((!is_refused.get()).then_some(time))
    }

    /// Milliseconds of the whole call by the kernels for tensor cores, which it must fit.
    pub(super) fn own(&self) -> Result<f32> {
        // SAFETY: the scratch memory is of the call's sizes.
        let run = || unsafe { implicit_gemm::run(&self.arena, &self.call) };
        // The first run may load its code.
        run()?;
        self.milliseconds(run)
    }

    /// Whether cuDNN computes this plan after all.
    ///
    /// # Errors
    /// Where memory is missing, which says nothing of the plan; where the device fails on the way, which it does not recover from.
    fn runs(&self, plan: &Plan) -> Result<bool> {
        match self.run(plan)? {
            Ok(()) => {
                let ran = self.spread.active().synchronize();
                ran.map(|()| true).map_err(|error| failed(format!("trying `{plan}`"), error))
            }
            Err(error) if is_out_of_memory(error) => Err(failed("trying cuDNN's algorithms", error)),
            Err(_) => Ok(false),
        }
    }

    /// The whole call by cuDNN.
    fn run(&self, plan: &Plan) -> Result<Answer<()>> {
        // SAFETY: the scratch memory is of the call's sizes.
        let answer = unsafe { plan.run_members(self.handle, self.spread, &self.arena, &self.call)? };
        if answer.is_ok() && !plan.is_fused() {
            // SAFETY: as above.
            unsafe { convolution::finish(self.arena.backend(), &self.call)? };
        }
        Ok(answer)
    }

    /// The least time of a run. The host gives the device all runs of a round while that is held up, so that how long the
    /// host takes for them is not counted: passes of small networks are recorded, and launched without it.
    fn milliseconds(&self, run: impl Fn() -> Result<()>) -> Result<f32> {
        let asked = |error| failed("timing convolutions", error);
        let (stream, flags) = (self.spread.active(), Some(CUevent_flags::CU_EVENT_DEFAULT));
        let mut least = f32::INFINITY;
        for _ in 0..ROUNDS {
            self.hold(HELD)?;
            let start = stream.record_event(flags).map_err(asked)?;
            for _ in 0..RUNS {
                run()?;
            }
            let end = stream.record_event(flags).map_err(asked)?;
            least = least.min(start.elapsed_ms(&end).map_err(asked)? / RUNS as f32);
        }
        Ok(least)
    }
}

/// A buffer of `count` of the [`NORMALS`], again from the first behind the last. Waits for all that the device was given.
fn filled(arena: &Arena, spread: &Spread, element: Element, count: usize) -> Result<Buffer> {
    // The upper half of an f32 is a bf16.
    let bytes = element.bytes();
    let pattern: Vec<u8> = NORMALS
        .iter()
        .take(count)
        .flat_map(|value| value.to_le_bytes().into_iter().skip(4 - bytes))
        .collect();
    let buffer = arena.take(count * bytes)?;
    arena.backend().upload(&pattern, buffer.at())?;
    // Copies go to another stream than uploads may; and passes beside the one that is timed would be timed with it.
    spread.active().context().synchronize().map_err(|error| failed("timing convolutions", error))?;
    let mut done = pattern.len();
    while done < count * bytes {
        let more = done.min(count * bytes - done);
        arena.backend().copy(buffer.at(), buffer.at() + done as u64, more)?;
        done += more;
    }
    Ok(buffer)
}
