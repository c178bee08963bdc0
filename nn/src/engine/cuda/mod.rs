//! Runs a network forward and backward on a CUDA device: the same graph as on the CPU, a node at a time over the whole
//! batch.
//!
//! A node is one convolution by cuDNN and the passes over its maps that it needs: `relu(norm(x))` before it, the shortcut
//! and the sums of the next norm after it. Backward, a norm costs two passes: sums, and the gradient. Nothing is read back
//! and, after the first step, nothing is allocated but the results.

pub(crate) mod backward;
mod fold;
mod forward;
#[cfg(feature = "cuda")]
pub(crate) mod operator;
pub(crate) mod replay;
pub(crate) mod stage;
mod tables;
#[cfg(test)]
mod tests;
pub(crate) mod trial;

use std::sync::Arc;

use backward::Memory;
use fold::Folds;
use replay::{Track, Tracks};

use super::backward::Wanted;
use super::forward::Request;
use super::graph::{Conv, Graph, Node, Residual, Source};
use super::norm::EPSILON;
use crate::error::{Error, Result};
use crate::ops::cuda::backend::{Arena, Buffer, Element};
use crate::ops::cuda::convolution::{Call, Pass};
use crate::ops::cuda::norm::{self, Norm, table_len};
use crate::ops::cuda::pointwise::{Map, Rows};
use crate::ops::cuda::weights::Layers;
use crate::precision::Precision;

/// What a network keeps on its device beside its parameters.
pub(crate) struct OnDevice {
    arena: Arena,
    precision: Precision,
    pixel_mean: Buffer,
    pixel_std: Buffer,
    /// Running statistics.
    running: Buffer,
    running_count: usize,
    /// For `running_statistics`: six words a norm.
    norms: Buffer,
    /// Weights of convolutions over maps, and of classifiers, which stay f32.
    maps: Layers,
    linear: Layers,
    /// First packed weight of each node, among those of its kind.
    packed_at: Vec<usize>,
    folds: Folds,
    tracks: Tracks,
}

/// A forward pass that may be gone back through.
pub(crate) enum Kept {
    /// In memory that nothing else has until it is dropped.
    Once(Saved),
    /// In that of its track, which is kept for it.
    OnTrack(Arc<Track>),
}

/// What the backward pass needs of a forward pass.
pub(crate) struct Saved {
    rows: Rows,
    /// Every feature map.
    features: Vec<Option<Map>>,
    /// What each convolution read, where the gradient by its weights is wanted.
    inputs: Vec<Option<Map>>,
    norms: Norms,
    /// Whether the statistics are the batch's own.
    batch_statistics: bool,
    weights: Weights,
}

/// Both kinds' weights as the convolutions read them: those over maps, and those of classifiers.
struct Weights {
    packed: [Buffer; 2],
    /// Biases of the folded norms, where there are any.
    biases: Option<Buffer>,
}

/// The tables of all norms in one pass.
struct Norms {
    buffer: Buffer,
    /// First float of each norm's table.
    places: Vec<usize>,
}

impl Norms {
    fn new(arena: &Arena, graph: &Graph, groups: usize) -> Result<Self> {
        let mut places = Vec::new();
        let mut total = 0;
        for norm in &graph.norms {
            places.push(total);
            total += table_len(norm.channels, groups);
        }
        Ok(Self { buffer: arena.floats(total)?, places })
    }

    fn get(&self, norm: usize) -> Norm {
        Norm { table: self.buffer.float(self.places[norm]) }
    }
}

impl OnDevice {
    pub(crate) fn new(arena: Arena, graph: &Graph, buffers: &[f32], precision: Precision) -> Result<Self> {
        let unsupported = graph.nodes.iter().any(
            |node| matches!(node, Node::Conv(conv) if matches!(conv.residual, Some(Residual::Normed(..)))),
        );
        if unsupported {
            return Err(Error::State("a convolution cannot add a normalised shortcut on CUDA".to_owned()));
        }
        let norms = tables::norm_words(graph);
        let (maps, linear, packed_at) = tables::layers(graph);
        let members = graph.member_count();
        let element = if precision == Precision::Bf16 { Element::Bf16 } else { Element::F32 };
        Ok(Self {
            precision,
            pixel_mean: arena.values(&graph.pixel_mean)?,
            pixel_std: arena.values(&graph.pixel_std)?,
            running: arena.values(buffers)?,
            running_count: buffers.len(),
            norms: arena.words(&norms)?,
            maps: Layers::new(&arena, &maps, members, element)?,
            linear: Layers::new(&arena, &linear, members, Element::F32)?,
            packed_at,
            folds: Folds::new(&arena, graph)?,
            tracks: Tracks::default(),
            arena,
        })
    }

    /// The output of the graph for `images`, and what going back needs where `request` keeps it: [`OnDevice::forward_in`],
    /// as it is or recorded.
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn forward(
        &self,
        graph: &Graph,
        addresses: (u64, u64, u64),
        request: Request,
        weight_grads: bool,
    ) -> Result<Option<Kept>> {
        match self.tracks.idle(&self.arena, graph, request, weight_grads)? {
            Some(track) => {
                // SAFETY: the caller's.
                unsafe { track.forward(self, graph, addresses)? };
                Ok(request.keep.then_some(Kept::OnTrack(track)))
            }
            None => {
                // SAFETY: the caller's.
                let saved = unsafe { self.forward_in(&self.arena, graph, addresses, request, weight_grads)? };
                Ok(saved.map(Kept::Once))
            }
        }
    }

    /// The gradients of a pass that was kept: [`OnDevice::backward_in`], as it is or recorded.
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn backward(
        &self,
        graph: &Graph,
        kept: &Kept,
        memory: Memory,
        wanted: Wanted,
    ) -> Result<()> {
        // SAFETY: the caller's.
        unsafe {
            match kept {
                Kept::Once(saved) => self.backward_in((&self.arena, None), graph, saved, memory, wanted),
                Kept::OnTrack(track) => track.backward(self, graph, memory, wanted),
            }
        }
    }

    /// A copy of the running statistics.
    pub(crate) fn buffers(&self) -> Result<Vec<f32>> {
        self.running.read(self.running_count)
    }

    /// Replaces the running statistics.
    pub(crate) fn set_buffers(&self, values: &[f32]) -> Result<()> {
        self.running.write(values)
    }

    /// What maps are stored as; the input and output of a classifier are f32.
    fn element(&self, linear: bool) -> Element {
        match self.precision {
            Precision::Bf16 if !linear => Element::Bf16,
            _ => Element::F32,
        }
    }

    fn layers(&self, linear: bool) -> &Layers {
        if linear { &self.linear } else { &self.maps }
    }

    /// The weights for a pass; with the tables of its norms, which are then changed, those that can be are folded in.
    fn weights(&self, arena: &Arena, params: u64, norms: Option<&Norms>) -> Result<Weights> {
        let tables = norms.map_or(0, |norms| norms.buffer.at());
        let pack = |layers: &Layers| {
            let packed = layers.buffer(arena)?;
            layers.pack(arena.backend(), params, tables, &packed)?;
            Ok::<_, Error>(packed)
        };
        let packed = [pack(&self.maps)?, pack(&self.linear)?];
        if norms.is_none() || self.folds.count == 0 {
            return Ok(Weights { packed, biases: None });
        }
        let element = self.element(false);
        let biases = arena.take(self.folds.bias_len * element.bytes())?;
        let (words, count) = (&self.folds.words, self.folds.count);
        norm::fold_norms(arena.backend(), words, count, tables, (biases.at(), element))?;
        Ok(Weights { packed, biases: Some(biases) })
    }

    /// A convolution of this network, without its maps.
    fn call(&self, graph: &Graph, index: usize, conv: &Conv, rows: Rows, weights: &Weights) -> Call {
        let linear = conv.bias.is_some();
        let start = self.packed_at[index];
        let input_rows = match conv.source {
            Source::Image if !graph.tiled_images => rows.batch,
            _ => rows.count(),
        };
        Call {
            pass: Pass::Forward,
            shape: conv.op.shape,
            element: self.element(linear),
            tf32: self.precision == Precision::Tf32,
            members: rows.members,
            batch: rows.batch,
            input_rows,
            input: 0,
            weight: self.layers(linear).address(&weights.packed[usize::from(linear)], start),
            output: 0,
            bias: 0,
            bias_of_members: graph.members.is_some(),
            epilogue: None,
            linear,
        }
    }

    /// The tables of all norms from the running statistics.
    fn running_norms(&self, arena: &Arena, graph: &Graph, params: u64) -> Result<Norms> {
        let norms = Norms::new(arena, graph, 1)?;
        let (backend, count) = (arena.backend(), graph.norms.len());
        if count > 0 {
            let memory = (params, self.running.at(), norms.buffer.at());
            norm::running_statistics(backend, &self.norms, count, memory, EPSILON)?;
        }
        Ok(norms)
    }
}

/// The address of the `index`-th float after `start`.
fn float_at(start: u64, index: usize) -> u64 {
    start + 4 * index as u64
}
