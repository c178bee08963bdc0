//! The streams of a device: one that everything is given to in turn, and others beside it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use candle_core::cuda::cudarc::driver::{CudaEvent, CudaStream};

use super::backend::Manner;
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
    /// Where what is recorded branches off, with where it does and where it ends, each time anew.
    branch: Arc<CudaStream>,
    branch_start: CudaEvent,
    branch_end: CudaEvent,
    /// Whether something is recorded that may branch, and whether its kernels overlap.
    branches: AtomicBool,
    overlaps: AtomicBool,
    /// Whether the branch has what the main stream has not waited for.
    is_apart: AtomicBool,
}

impl Streams {
    pub(super) fn new(main: Arc<CudaStream>) -> Result<Self> {
        let context = Arc::clone(main.context());
        let asked = |error| failed("a stream to branch off", error);
        Ok(Self {
            main,
            lanes: Mutex::default(),
            next: AtomicUsize::new(0),
            active: Mutex::default(),
            ends: Mutex::default(),
            branch: context.new_stream().map_err(asked)?,
            branch_start: context.new_event(None).map_err(asked)?,
            branch_end: context.new_event(None).map_err(asked)?,
            branches: AtomicBool::new(false),
            overlaps: AtomicBool::new(false),
            is_apart: AtomicBool::new(false),
        })
    }

    /// What everything goes to now.
    pub(super) fn active(&self) -> Arc<CudaStream> {
        lock(&self.active).as_ref().unwrap_or(&self.main).clone()
    }

    /// A lane's number, another one each time until all were given.
    pub(super) fn lane(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed) % LANES
    }

    /// Gives what `work` asks for to a lane, behind what the main stream was given so far.
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
        let given = self.on(&stream, work);
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

    /// Whether something is recorded that may branch.
    pub(super) fn branches(&self) -> bool {
        self.branches.load(Ordering::Relaxed)
    }

    /// Whether a kernel may be started before the one before it on its stream has ended.
    pub(super) fn overlaps(&self) -> bool {
        self.overlaps.load(Ordering::Relaxed)
    }

    /// Runs `work`, of which the main stream is recorded.
    pub(super) fn recorded(&self, manner: Manner, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        self.branches.store(manner >= Manner::Branching, Ordering::Relaxed);
        self.overlaps.store(manner == Manner::Overlapping, Ordering::Relaxed);
        let given = work();
        self.branches.store(false, Ordering::Relaxed);
        self.overlaps.store(false, Ordering::Relaxed);
        // A recording ends with what branched off joined, whatever `work` says.
        let joined = self.rejoin();
        given.and(joined)
    }

    /// Gives `work` to the branch, behind what the main stream was given so far, where something is recorded that may branch.
    pub(super) fn aside(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        if !self.branches() {
            return work();
        }
        self.branch_start
            .record(&self.main)
            .and_then(|()| self.branch.wait(&self.branch_start))
            .map_err(|error| failed("branching off", error))?;
        self.is_apart.store(true, Ordering::Relaxed);
        self.on(&self.branch, work)
    }

    /// Lets the main stream wait for the branch.
    pub(super) fn rejoin(&self) -> Result<()> {
        if self.is_apart.swap(false, Ordering::Relaxed) {
            self.branch_end
                .record(&self.branch)
                .and_then(|()| self.main.wait(&self.branch_end))
                .map_err(|error| failed("joining a branch", error))?;
        }
        Ok(())
    }

    /// Whether a stream is that of the branch.
    #[cfg(feature = "cudnn")]
    pub(super) fn is_branch(&self, stream: &CudaStream) -> bool {
        *stream == *self.branch
    }

    /// Gives what `work` asks for to `stream`.
    fn on(&self, stream: &Arc<CudaStream>, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        *lock(&self.active) = Some(Arc::clone(stream));
        let given = work();
        *lock(&self.active) = None;
        given
    }
}
