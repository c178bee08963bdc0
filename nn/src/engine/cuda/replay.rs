//! Tracks of small networks, recorded once and launched as a whole from then on: on a device as CUDA graphs.
//!
//! A small network's kernels are shorter than the host needs to launch them one by one. A recording names addresses, so
//! what it reads and writes stays where it is: a [`Track`] has memory of its own, into which the caller's images, parameters
//! and gradients are copied, and out of which its results are. The first pass of a kind runs as always, which reserves all
//! of that memory and chooses all algorithms; the second is recorded. One that is still to be gone back through is not
//! used again before that: a step that goes twice through a network has two.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::backward::Memory;
use super::stage::{Kind, Pass, Stage};
use super::{OnDevice, Saved};
use crate::engine::backward::Wanted;
use crate::engine::forward::Request;
use crate::engine::graph::Graph;
use crate::error::{Error, Result};
use crate::ops::cuda::backend::{Arena, Buffer};

/// Multiply-adds of a node's convolution, on average, from which on its kernels are long enough to hide their launches.
const LONG: u64 = 4_000_000_000;
/// Tracks that a network keeps.
const MOST: usize = 8;

/// A network's tracks, the last used one last.
#[derive(Default)]
pub(super) struct Tracks(Mutex<Vec<Arc<Track>>>);

/// Forward and backward pass of one kind, in memory of their own.
pub(crate) struct Track {
    kind: Kind,
    /// Where it runs beside other work, if it may: always behind its own last pass.
    lane: Option<usize>,
    /// Working memory, for recordings alone: what else was taken of it, the next pass would miss. That of what runs aside is
    /// its own.
    arena: Arena,
    aside: Arena,
    params: Buffer,
    images: Buffer,
    output: Buffer,
    forward: Mutex<(Stage, Option<Saved>)>,
    backward: Mutex<Vec<Backward>>,
}

/// The way back, for the gradients that one caller wants.
struct Backward {
    wanted: Wanted,
    grad_output: Buffer,
    grad_params: Option<Buffer>,
    grad_images: Option<Buffer>,
    stage: Stage,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tracks {
    /// A track of this kind that no backward pass is still to use. `None` where all of them wait for theirs and no more may be
    /// made, or where the kernels take so long that recording does not pay.
    pub(super) fn idle(
        &self,
        arena: &Arena,
        graph: &Graph,
        request: Request,
        weight_grads: bool,
    ) -> Result<Option<Arc<Track>>> {
        let rows = (graph.member_count() * request.batch) as u64;
        if arena.backend().manners().is_empty()
            || graph.multiply_adds() * rows > LONG * graph.nodes.len() as u64
        {
            return Ok(None);
        }
        let kind = Kind { request, weight_grads };
        let mut tracks = lock(&self.0);
        let is_idle = |track: &Arc<Track>| Arc::strong_count(track) == 1;
        let track = match tracks.iter().position(|track| track.kind == kind && is_idle(track)) {
            Some(place) => tracks.remove(place),
            None => {
                if tracks.len() >= MOST {
                    let Some(oldest) = tracks.iter().position(is_idle) else { return Ok(None) };
                    tracks.remove(oldest);
                }
                Arc::new(Track::new(arena, graph, kind)?)
            }
        };
        tracks.push(Arc::clone(&track));
        Ok(Some(track))
    }
}

impl Drop for Track {
    /// Its memory is given back behind what its lane was given.
    fn drop(&mut self) {
        if self.lane.is_some() {
            // A device that fails here fails in what is asked for next.
            let _ = self.arena.backend().join();
        }
    }
}

impl Track {
    fn new(arena: &Arena, graph: &Graph, kind: Kind) -> Result<Self> {
        let out = graph.features[graph.output()];
        let rows = graph.member_count() * kind.request.batch;
        Ok(Self {
            kind,
            lane: kind.request.beside.then(|| arena.backend().lane()),
            params: arena.floats(graph.layout.parameter_count())?,
            images: arena.floats(graph.image_rows(kind.request.batch) * graph.image.values())?,
            output: arena.floats(rows * out.values())?,
            arena: arena.private(),
            aside: arena.private(),
            forward: Mutex::new((Stage::New, None)),
            backward: Mutex::default(),
        })
    }

    fn pass(&self, direction: &'static str, graph: &Graph, branches: bool) -> Pass {
        Pass { kind: self.kind, direction, members: graph.member_count(), branches }
    }

    fn copy(&self, from: u64, to: u64, floats: usize) -> Result<()> {
        self.arena.backend().copy(from, to, 4 * floats)
    }

    /// [`OnDevice::forward_in`] of `on`.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn forward(
        &self,
        on: &OnDevice,
        graph: &Graph,
        (params, images, output): (u64, u64, u64),
    ) -> Result<()> {
        let Kind { request, weight_grads } = self.kind;
        let own = (self.params.at(), self.images.at(), self.output.at());
        let pass = self.pass("forward", graph, false);
        let (stage, saved) = &mut *lock(&self.forward);
        let backend = self.arena.backend();
        let lane = self.lane.filter(|_| matches!(stage, Stage::Recorded(_)));
        let mut work = || {
            self.copy(params, self.params.at(), graph.layout.parameter_count())?;
            self.copy(images, self.images.at(), graph.image_rows(request.batch) * graph.image.values())?;
            stage.run(backend, true, pass, &mut || {
                // What the last pass kept is this one's memory.
                *saved = None;
                self.arena.tidy();
                // SAFETY: the caller's, with copies in the place of its memory.
                *saved = unsafe { on.forward_in(&self.arena, graph, own, request, weight_grads) }?;
                Ok(())
            })?;
            let rows = graph.member_count() * request.batch;
            self.copy(self.output.at(), output, rows * graph.features[graph.output()].values())
        };
        match lane {
            Some(lane) => backend.beside(lane, &mut work),
            None => work(),
        }
    }

    /// [`OnDevice::backward_in`] of `on`, through the last forward pass.
    ///
    /// # Safety
    /// As there.
    pub(super) unsafe fn backward(
        &self,
        on: &OnDevice,
        graph: &Graph,
        memory: Memory,
        wanted: Wanted,
    ) -> Result<()> {
        let (forward, saved) = &*lock(&self.forward);
        let Some(saved) = saved else {
            return Err(Error::State("the forward pass kept nothing to go back through".to_owned()));
        };
        let params = graph.layout.parameter_count();
        let images = graph.image_rows(self.kind.request.batch) * graph.image.values();
        let output = graph.member_count() * self.kind.request.batch * graph.features[graph.output()].values();
        let mut all = lock(&self.backward);
        let place = match all.iter().position(|backward| backward.wanted == wanted) {
            Some(place) => place,
            None => {
                let room = |wanted: bool, floats| wanted.then(|| on.arena.floats(floats)).transpose();
                all.push(Backward {
                    wanted,
                    grad_output: on.arena.floats(output)?,
                    grad_params: room(wanted.params, params)?,
                    grad_images: room(wanted.images, images)?,
                    stage: Stage::New,
                });
                all.len() - 1
            }
        };
        let Backward { grad_output, grad_params, grad_images, stage, .. } = &mut all[place];
        self.copy(memory.grad_output, grad_output.at(), output)?;
        let own = Memory {
            params: self.params.at(),
            grad_output: grad_output.at(),
            grad_params: grad_params.as_ref().map_or(0, Buffer::at),
            grad_images: grad_images.as_ref().map_or(0, Buffer::at),
        };
        // Before its forward pass is recorded, what that kept lies elsewhere each time.
        let is_fixed = matches!(forward, Stage::Recorded(_));
        // SAFETY: the caller's, with copies in the place of its memory.
        let mut work =
            || unsafe { on.backward_in((&self.arena, Some(&self.aside)), graph, saved, own, wanted) };
        let pass = self.pass("backward", graph, wanted.params);
        stage.run(self.arena.backend(), is_fixed, pass, &mut work)?;
        if let Some(from) = grad_params {
            self.copy(from.at(), memory.grad_params, params)?;
        }
        if let Some(from) = grad_images {
            self.copy(from.at(), memory.grad_images, images)?;
        }
        Ok(())
    }
}
