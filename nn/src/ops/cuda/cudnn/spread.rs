//! The members' parts of a call on several streams.
//!
//! cuDNN takes a call a member, for each has weights of its own. One member's part seldom has as many blocks as would keep the
//! whole device busy to its end; what it leaves idle there, another member's part takes.

use std::sync::Arc;

use candle_core::cuda::cudarc::driver::{CudaContext, CudaEvent, CudaStream, DriverError};

use super::super::device::failed;
use super::super::kernels::spreads;
use super::super::streams::Streams;
use crate::error::Result;

/// Streams that a call is spread over at most.
const WIDTH: usize = 4;

/// Streams beside one that goes on behind them, with where they begin and where each ends, each time anew.
struct Fan {
    streams: Vec<(Arc<CudaStream>, CudaEvent)>,
    start: CudaEvent,
}

impl Fan {
    fn new(context: &Arc<CudaContext>) -> std::result::Result<Self, DriverError> {
        let stream = |_| Ok((context.new_stream()?, context.new_event(None)?));
        let streams = (1..WIDTH).map(stream).collect::<std::result::Result<_, _>>()?;
        Ok(Self { streams, start: context.new_event(None)? })
    }
}

/// A device's streams, and those that calls are spread over.
pub(super) struct Spread {
    streams: Arc<Streams>,
    /// Of what the main stream is given, and of what the branch is.
    fans: [Fan; 2],
    width: usize,
}

impl Spread {
    pub(super) fn new(streams: &Arc<Streams>) -> Result<Self> {
        let active = streams.active();
        let fan = || Fan::new(active.context()).map_err(|error| failed("streams for members", error));
        let width = if spreads()? { WIDTH } else { 1 };
        Ok(Self { fans: [fan()?, fan()?], streams: Arc::clone(streams), width })
    }

    /// What everything goes to now.
    pub(super) fn active(&self) -> Arc<CudaStream> {
        self.streams.active()
    }

    /// How many streams a call's parts may be given to.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Gives `work` for each of `parts` parts to the active stream and others in turn, `width` streams in all: behind what the
    /// active stream was given so far, which goes on behind them all. `work` is told the part, the place of its stream among
    /// them, and the stream.
    ///
    /// # Errors
    /// Where the streams fail. What `work` says, which is not asked again once it fails, is the answer.
    pub(super) fn run<E>(
        &self,
        parts: usize,
        width: usize,
        mut work: impl FnMut(usize, usize, &CudaStream) -> std::result::Result<(), E>,
    ) -> Result<std::result::Result<(), E>> {
        let asked = |error| failed("spreading a call over streams", error);
        let active = self.active();
        let fan = &self.fans[usize::from(self.streams.is_branch(&active))];
        let beside = &fan.streams[..width.min(parts).clamp(1, WIDTH) - 1];
        if !beside.is_empty() {
            fan.start.record(&active).map_err(asked)?;
        }
        for (stream, _) in beside {
            stream.wait(&fan.start).map_err(asked)?;
        }
        let mut given = Ok(());
        for part in 0..parts {
            let place = part % (beside.len() + 1);
            let stream = place.checked_sub(1).map_or(&active, |place| &beside[place].0);
            given = work(part, place, stream);
            if given.is_err() {
                break;
            }
        }
        // A recording ends with all of them joined, whatever `work` says.
        for (stream, end) in beside {
            end.record(stream).and_then(|()| active.wait(end)).map_err(asked)?;
        }
        Ok(given)
    }
}
