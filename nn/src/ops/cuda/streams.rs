//! The streams of a device: one that everything is given to in turn, and others beside it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use candle_core::cuda::cudarc::driver::{CudaEvent, CudaStream};

use super::device::{failed, lock};
use crate::error::Result;

/// Streams beside the main one.
const LANES: usize = 8;

/// candle's stream, and those beside it.
pub(super) struct Streams {
    main: Arc<CudaStream>,
    /// Made when they are first used.
    lanes: Mutex<[Option<Arc<CudaStream>>; LANES]>,
    next: AtomicUsize,
    /// The lane that work is given to, while it is.
    active: Mutex<Option<Arc<CudaStream>>>,
    /// Ends of work beside that the main stream has not waited for.
    ends: Mutex<Vec<CudaEvent>>,
}

impl Streams {
    pub(super) fn new(main: Arc<CudaStream>) -> Self {
        Self {
            main,
            lanes: Mutex::default(),
            next: AtomicUsize::new(0),
            active: Mutex::default(),
            ends: Mutex::default(),
        }
    }

    /// What copies and recordings go to now.
    pub(super) fn active(&self) -> Arc<CudaStream> {
        lock(&self.active).as_ref().unwrap_or(&self.main).clone()
    }

    /// A lane's number, another one each time until all were given.
    pub(super) fn lane(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % LANES
    }

    /// Gives what `work` copies and replays to a lane, behind what the main stream was given so far.
    pub(super) fn beside(&self, lane: usize, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let asked = |error| failed("a stream beside", error);
        let stream = {
            let mut lanes = lock(&self.lanes);
            match &mut lanes[lane % LANES] {
                Some(stream) => Arc::clone(stream),
                place @ None => {
                    let stream = self.main.context().new_stream().map_err(asked)?;
                    Arc::clone(place.insert(stream))
                }
            }
        };
        stream.join(&self.main).map_err(asked)?;
        *lock(&self.active) = Some(Arc::clone(&stream));
        let given = work();
        *lock(&self.active) = None;
        lock(&self.ends).push(stream.record_event(None).map_err(asked)?);
        given
    }

    /// Lets the main stream wait for all work beside it.
    pub(super) fn join(&self) -> Result<()> {
        for end in lock(&self.ends).drain(..) {
            self.main.wait(&end).map_err(|error| failed("waiting for a stream beside", error))?;
        }
        Ok(())
    }
}
