//! A recorded pass, in each of the manners that its device takes until it is known which of them is the fastest.

use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::ops::cuda::backend::{Backend, Elapsed, Manner, Recording};

/// Launches in each manner by which they are compared, of which the fastest counts.
const ROUNDS: usize = 3;

/// How long a recorded pass takes.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "cuda"), expect(unreachable_pub, reason = "public with CUDA"))]
pub struct Trial {
    /// Direction, images and what they are passed for.
    pub what: String,
    /// Milliseconds in each manner, the fastest first, which is taken.
    pub times: Vec<(Manner, f32)>,
}

static TRIALS: Mutex<Vec<Trial>> = Mutex::new(Vec::new());

/// The comparisons that this process has made since the last call, in their order.
#[cfg(any(feature = "cuda", test))]
#[cfg_attr(not(feature = "cuda"), expect(unreachable_pub, reason = "public with CUDA"))]
pub fn take_trials() -> Vec<Trial> {
    std::mem::take(&mut *TRIALS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A pass's recordings.
pub(super) struct Recorded {
    what: String,
    tried: Vec<Tried>,
    launches: usize,
}

struct Tried {
    manner: Manner,
    recording: Box<dyn Recording>,
    times: Vec<Elapsed>,
}

impl Recorded {
    /// Records `work` in every manner that makes a difference to it: only where it `branches` is it tried with branches alone. Each
    /// time it must use the same memory.
    ///
    /// # Errors
    /// Where the first manner fails. Others are left out, after a line that says so.
    pub(super) fn new(
        backend: &dyn Backend,
        what: String,
        branches: bool,
        work: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut tried: Vec<Tried> = Vec::new();
        let mut is_whole = true;
        let manners = backend.manners();
        for &manner in manners {
            if manner == Manner::Branching && !branches && manners.len() > 1 {
                continue;
            }
            match backend.record(manner, work) {
                Ok(recording) => tried.push(Tried { manner, recording, times: Vec::new() }),
                Err(error) if tried.is_empty() => return Err(error),
                Err(error) => {
                    is_whole = false;
                    super::replay::refused();
                    eprintln!("{what} is not recorded {manner}: {error}");
                }
            }
        }
        if tried.is_empty() {
            return Err(Error::State("no passes are recorded".to_owned()));
        }
        if !is_whole {
            // What `work` leaves to the host is that of its last success.
            tried[0].recording = backend.record(tried[0].manner, work)?;
        }
        Ok(Self { what, tried, launches: 0 })
    }

    /// Launches the pass: in the manner whose turn it is, and from then on, when each had its turns, in the fastest.
    pub(super) fn replay(&mut self) -> Result<()> {
        if let [only] = &*self.tried {
            return only.recording.replay();
        }
        let count = self.tried.len();
        let next = &mut self.tried[self.launches % count];
        next.times.push(next.recording.timed()?);
        self.launches += 1;
        if self.launches < ROUNDS * count { Ok(()) } else { self.choose() }
    }

    fn choose(&mut self) -> Result<()> {
        let mut timed = Vec::new();
        for tried in self.tried.drain(..) {
            let mut least = f32::INFINITY;
            for elapsed in tried.times {
                least = least.min(elapsed()?);
            }
            timed.push((least, tried.manner, tried.recording));
        }
        timed.sort_by(|one, other| one.0.total_cmp(&other.0));
        let times = timed.iter().map(|(least, manner, _)| (*manner, *least)).collect();
        let trial = Trial { what: self.what.clone(), times };
        TRIALS.lock().unwrap_or_else(PoisonError::into_inner).push(trial);
        timed.truncate(1);
        self.tried.extend(timed.into_iter().map(|(_, manner, recording)| Tried {
            manner,
            recording,
            times: Vec::new(),
        }));
        Ok(())
    }
}
