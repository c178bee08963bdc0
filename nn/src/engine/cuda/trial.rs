//! A recorded pass, in each of the manners that its device takes until it is known which of them is the fastest.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use crate::error::{Error, Result};
use crate::ops::cuda::backend::{Backend, Elapsed, Manner, Recording};

/// Launches in each manner. The first are not timed: those of several networks follow one another there, which may run beside each
/// other later.
const ROUNDS: usize = 4;

/// How long a recorded pass takes.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "cuda"), expect(unreachable_pub, reason = "public with CUDA"))]
pub struct Trial {
    /// Direction, members and images, and what they are passed for.
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

static OPEN: AtomicUsize = AtomicUsize::new(0);

/// How many recorded passes of this process are still tried in several manners.
#[cfg(feature = "cuda")]
pub fn open_trials() -> usize {
    OPEN.load(Ordering::Relaxed)
}

/// Counts among [`open_trials`] as long as it lives.
struct Open;

impl Open {
    fn new() -> Self {
        OPEN.fetch_add(1, Ordering::Relaxed);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        OPEN.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A pass's recordings.
pub(super) struct Recorded {
    what: String,
    /// Until its manner is chosen.
    open: Option<Open>,
    tried: Vec<Tried>,
    launches: usize,
}

struct Tried {
    manner: Manner,
    recording: Box<dyn Recording>,
    times: Vec<Elapsed>,
    least: f32,
}

impl Recorded {
    /// Records `work` in every manner that makes a difference to it: only where it `branches` is it tried with branches alone. What
    /// it leaves to others must lie in the same memory each time.
    ///
    /// # Errors
    /// Where the plainest manner fails. Others are left out, after a line that says so.
    pub(super) fn new(
        backend: &dyn Backend,
        what: String,
        branches: bool,
        work: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Self> {
        let mut tried: Vec<Tried> = Vec::new();
        let manners = backend.manners();
        let Some(plainest) = manners.first() else {
            return Err(Error::State("no passes are recorded".to_owned()));
        };
        // The plainest comes last: what `work` leaves to the host is that of a success.
        for manner in manners.iter().rev() {
            if *manner == Manner::Branching && !branches && manner != plainest {
                continue;
            }
            match backend.record(*manner, work) {
                Ok(recording) => {
                    let (manner, times, least) = (*manner, Vec::new(), f32::INFINITY);
                    tried.push(Tried { manner, recording, times, least });
                }
                Err(error) if manner == plainest => return Err(error),
                Err(error) => left_out(*manner, &error),
            }
        }
        let open = (tried.len() > 1).then(Open::new);
        Ok(Self { what, open, tried, launches: 0 })
    }

    /// Launches the pass: in the manner whose turn it is, and from then on, when each had its turns, in the fastest.
    pub(super) fn replay(&mut self) -> Result<()> {
        let count = self.tried.len();
        let next = &mut self.tried[self.launches % count];
        if count == 1 {
            self.open = None;
            return next.recording.replay();
        }
        match next.recording.timed() {
            Ok(_) if self.launches < count => {}
            Ok(elapsed) => next.times.push(elapsed),
            Err(error) => {
                left_out(next.manner, &error);
                self.tried.remove(self.launches % count);
                return self.replay();
            }
        }
        self.launches += 1;
        if self.launches < ROUNDS * count { Ok(()) } else { self.choose() }
    }

    fn choose(&mut self) -> Result<()> {
        for tried in &mut self.tried {
            for elapsed in tried.times.drain(..) {
                tried.least = tried.least.min(elapsed()?);
            }
        }
        self.tried.sort_by(|one, other| one.least.total_cmp(&other.least));
        let times = self.tried.iter().map(|tried| (tried.manner, tried.least)).collect();
        let trial = Trial { what: self.what.clone(), times };
        TRIALS.lock().unwrap_or_else(PoisonError::into_inner).push(trial);
        self.tried.truncate(1);
        self.open = None;
        Ok(())
    }
}

/// Counts a recording that failed, and says so the first time.
fn left_out(manner: Manner, error: &Error) {
    static SAID: [Once; 3] = [const { Once::new() }; 3];
    super::stage::refused();
    let error = error.to_string();
    let first = error.lines().next().unwrap_or_default();
    SAID[manner as usize].call_once(|| eprintln!("passes are not recorded {manner}: {first}"));
}
