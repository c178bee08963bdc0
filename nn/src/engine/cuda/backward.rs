//! The backward pass on a device.
//!
//! As on the CPU a map's gradient has up to two parts: `normed`, which arrives behind its norm (before that norm's ReLU is
//! taken into account), and `raw`, which arrives directly.

use super::{OnDevice, Saved, float_at};
use crate::engine::backward::Wanted;
use crate::engine::graph::{Conv, FeatureId, Graph, Join, Node, NormId, Pool, Residual, Source};
use crate::error::{Error, Result};
use crate::ops::cuda::backend::{Arena, Backend, Buffer};
use crate::ops::cuda::convolution::{Call, Pass};
use crate::ops::cuda::norm::{self, Grads};
use crate::ops::cuda::parts::Parts;
use crate::ops::cuda::pointwise::{self, Map};
use crate::ops::cuda::weights;

/// Addresses of what a backward pass reads and writes; 0 for a gradient that is not wanted.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    pub params: u64,
    pub grad_output: u64,
    pub grad_params: u64,
    pub grad_images: u64,
}

struct Walk<'a> {
    on: &'a OnDevice,
    arena: &'a Arena,
    /// Memory of the gradients by weights, which are no part of the way back; without it, they are computed on the way.
    aside: Option<&'a Arena>,
    /// What they read.
    held: Vec<Map>,
    graph: &'a Graph,
    saved: &'a Saved,
    memory: Memory,
    wanted: Wanted,
    /// Gradients by the packed weights, where wanted.
    grads: Option<[Buffer; 2]>,
    normed: Vec<Option<Map>>,
    raw: Vec<Option<Map>>,
    /// Offsets and slopes of each norm's gradient, where the statistics are the batch's.
    offsets: Vec<Option<Buffer>>,
}

impl OnDevice {
    /// Propagates the output's gradient back to parameters and images, with working memory from `arena`; with `aside`, that
    /// by the weights aside, with working memory from there, for which the gradients that they read are kept to the end.
    ///
    /// # Safety
    /// `memory` must name device memory of the parameters, the output's gradient and the wanted gradients.
    pub(super) unsafe fn backward_in(
        &self,
        (arena, aside): (&Arena, Option<&Arena>),
        graph: &Graph,
        saved: &Saved,
        memory: Memory,
        wanted: Wanted,
    ) -> Result<()> {
        let empty = || graph.features.iter().map(|_| None).collect::<Vec<_>>();
        let grads = match wanted.params {
            true => Some([self.maps.buffer(arena)?, self.linear.buffer(arena)?]),
            false => None,
        };
        let mut walk = Walk {
            on: self,
            arena,
            aside,
            held: Vec::new(),
            graph,
            saved,
            memory,
            wanted,
            grads,
            normed: empty(),
            raw: empty(),
            offsets: graph.norms.iter().map(|_| None).collect(),
        };
        for (index, node) in graph.nodes.iter().enumerate().rev() {
            match node {
                Node::Conv(conv) => walk.conv(index, conv)?,
                Node::Join(join) => walk.join(join)?,
                Node::Pool(pool) => walk.pool(pool)?,
            }
            walk.release(node);
        }
        arena.backend().rejoin()?;
        if let Some([maps, linear]) = &walk.grads {
            self.maps.grads(arena.backend(), memory.params, maps, memory.grad_params)?;
            self.linear.grads(arena.backend(), memory.params, linear, memory.grad_params)?;
        }
        Ok(())
    }
}

impl Walk<'_> {
    fn backend(&self) -> &dyn Backend {
        self.arena.backend()
    }

    fn feature(&self, feature: FeatureId) -> Result<&Map> {
        let map = self.saved.features[feature].as_ref();
        map.ok_or_else(|| Error::State(format!("the forward pass kept no feature map {feature}")))
    }

    /// Memory for the gradient by a feature map.
    fn like(&self, feature: FeatureId) -> Result<Map> {
        let map = self.feature(feature)?;
        Map::new(self.arena, map.element, map.shape, map.rows)
    }

    /// The whole gradient by a feature map; `None` where nothing depends on it.
    fn gradient(&self, feature: FeatureId) -> Result<Option<Map>> {
        if feature == self.graph.output() {
            let to = self.like(feature)?;
            pointwise::map_in(self.backend(), self.memory.grad_output, &to)?;
            return Ok(Some(to));
        }
        // A join's gradient is masked by the join's own ReLU; it serves as that behind the norm of its main branch.
        let (normed, masked) = match self.graph.join_of(feature) {
            // Folded: the convolution made the block's map.
            Some(join) if self.saved.features[feature].is_none() => return Ok(self.raw[join.out].clone()),
            Some(join) => (&self.raw[join.out], false),
            None => (&self.normed[feature], self.is_behind_relu(feature)),
        };
        let raw = self.raw[feature].as_ref();
        let (Some(normed), Some(index)) = (normed, self.graph.norm_of(feature)) else {
            return Ok(raw.cloned());
        };
        let (z, to) = (self.feature(feature)?, self.like(feature)?);
        let norm = self.saved.norms.get(index);
        let offsets = self.offsets[index].as_ref().map_or(0, Buffer::at);
        norm::norm_grad(self.backend(), self.saved.rows, normed, z, &norm, offsets, raw, masked, &to)?;
        Ok(Some(to))
    }

    /// Whether a feature map's norm is followed by a ReLU of its own.
    fn is_behind_relu(&self, feature: FeatureId) -> bool {
        let is_normed = |source: &Source| matches!(source, Source::Normed(f, _) if *f == feature);
        self.graph.nodes.iter().any(|node| match node {
            Node::Conv(conv) => is_normed(&conv.source),
            Node::Pool(pool) => is_normed(&pool.source),
            Node::Join(_) => false,
        })
    }

    /// Whether the sums of norms' gradients are wanted: for the gradients by the maps, or by gamma and beta.
    fn needs_sums(&self) -> bool {
        self.saved.batch_statistics || self.wanted.params
    }

    /// Where the sums over the gradient of norm `index` go: what its gradient by the map needs, and the gradients of gamma and
    /// beta.
    fn grads(&mut self, index: NormId) -> Result<Grads> {
        let norm = &self.graph.norms[index];
        let rows = self.saved.rows;
        let offsets = match self.saved.batch_statistics {
            true => Some(self.arena.floats(2 * norm.channels * rows.groups)?),
            false => None,
        };
        let of = |place: usize| float_at(self.memory.grad_params, place);
        let (gamma, beta) = if self.wanted.params { (of(norm.gamma), of(norm.beta)) } else { (0, 0) };
        let grads = Grads { gamma, beta, offsets: offsets.as_ref().map_or(0, Buffer::at) };
        self.offsets[index] = offsets;
        Ok(grads)
    }

    /// The sums over a gradient behind norm `index` of `feature`.
    fn sum(&mut self, feature: FeatureId, index: NormId, masked: bool) -> Result<()> {
        if !self.needs_sums() {
            return Ok(());
        }
        let Some(grad) = self.normed[feature].clone() else { return Ok(()) };
        let grads = self.grads(index)?;
        let (z, rows) = (self.feature(feature)?, self.saved.rows);
        let parts = Parts::new(self.arena, z, rows)?;
        let norm = self.saved.norms.get(index);
        norm::grad_sums(self.backend(), rows, &grad, z, &norm, masked, &parts, grads)
    }

    fn conv(&mut self, index: usize, conv: &Conv) -> Result<()> {
        let Some(grad) = self.gradient(conv.out)? else { return Ok(()) };
        let linear = conv.bias.is_some();
        let (graph, rows) = (self.graph, self.saved.rows);
        let call = Call { output: grad.at(), ..self.on.call(graph, index, conv, rows, &self.saved.weights) };
        // To the gradient of a sum, what its shortcut hands back may be added.
        match self.aside.filter(|_| conv.residual.is_none()) {
            _ if !self.wanted.params => {}
            Some(aside) => {
                if self.backend().aside(&mut || self.weight_grads(aside, index, conv, &call))? {
                    self.held.push(grad.clone());
                }
            }
            None => self.weight_grads(self.arena, index, conv, &call)?,
        }
        if let Some(Residual::Feature(f)) = conv.residual {
            self.hand_back(conv, f, &grad)?;
        }
        let (to, accumulate) = match conv.source {
            Source::Image => match self.wanted.images {
                true => (Map::new(self.arena, self.on.element(linear), graph.image, rows.count())?, false),
                false => return Ok(()),
            },
            Source::Feature(f) => match &self.raw[f] {
                Some(raw) => (raw.clone(), true),
                None => (self.like(f)?, false),
            },
            Source::Normed(f, _) => (self.like(f)?, false),
        };
        let call = Call { pass: Pass::Data { accumulate }, input: to.at(), input_rows: rows.count(), ..call };
        // SAFETY: as above.
        unsafe { self.backend().convolve(self.arena, &call)? };
        match conv.source {
            Source::Image => {
                let images = if graph.tiled_images { rows.count() } else { rows.batch };
                let (std, memory) = (&self.on.pixel_std, self.memory.grad_images);
                pointwise::image_grad(self.backend(), &to, std, memory, images)
            }
            Source::Feature(f) => {
                self.raw[f] = Some(to);
                Ok(())
            }
            Source::Normed(f, norm) => {
                self.normed[f] = Some(to);
                self.sum(f, norm, true)
            }
        }
    }

    /// The gradients by the weights and bias of `call`, whose output is its gradient.
    fn weight_grads(&self, arena: &Arena, index: usize, conv: &Conv, call: &Call) -> Result<()> {
        let (Some(grads), Some(input)) = (&self.grads, &self.saved.inputs[index]) else {
            return Err(Error::State("the forward pass kept no inputs for gradients by weights".to_owned()));
        };
        let linear = conv.bias.is_some();
        let start = self.on.packed_at[index];
        let weight = self.on.layers(linear).address(&grads[usize::from(linear)], start);
        let filter = Call { pass: Pass::Filter, input: input.at(), weight, ..*call };
        // SAFETY: the maps and gradients are of the convolution's shape.
        unsafe { self.backend().convolve(arena, &filter)? };
        let Some(bias) = conv.bias else { return Ok(()) };
        let rows = self.saved.rows;
        let to = float_at(self.memory.grad_params, bias);
        let sets = if self.graph.members.is_some() { rows.members } else { 1 };
        let sizes = (sets, rows.count() / sets, conv.op.shape.channels_out);
        weights::bias_grad(self.backend(), call.output, to, sizes)
    }

    /// The gradient of a pre-activation block's sum, to the map that its shortcut adds.
    fn hand_back(&mut self, conv: &Conv, to: FeatureId, grad: &Map) -> Result<()> {
        let same = self.graph.features[to] == self.graph.features[conv.out];
        if same && self.raw[to].is_none() && conv.source != Source::Feature(to) {
            // Nothing reads the sum's own gradient once this node is done, so that others may add to it.
            self.raw[to] = Some(grad.clone());
            return Ok(());
        }
        let (raw, accumulate) = match &self.raw[to] {
            Some(raw) => (raw.clone(), true),
            None => (self.like(to)?, false),
        };
        pointwise::spread(self.backend(), grad, &raw, accumulate)?;
        self.raw[to] = Some(raw);
        Ok(())
    }

    fn join(&mut self, join: &Join) -> Result<()> {
        let Some(grad) = self.raw[join.out].clone() else { return Ok(()) };
        let rows = self.saved.rows;
        let sums = if self.needs_sums() { Some(self.grads(join.norm)?) } else { None };
        let next = self.graph.skip_user(join.out).and_then(|next| self.raw[next.out].as_ref());
        let out = self.feature(join.out)?;
        // Of a folded norm nothing is summed, so that it does not matter what is read.
        let z = self.saved.features[join.feature].as_ref().unwrap_or(out);
        let parts = Parts::new(self.arena, z, rows)?;
        let norm = self.saved.norms.get(join.norm);
        pointwise::join_grad(self.backend(), rows, &grad, next, out, z, &norm, &parts, sums)?;
        if let Some(Residual::Normed(f, norm)) = join.residual {
            self.normed[f] = Some(grad);
            self.sum(f, norm, false)?;
        }
        Ok(())
    }

    fn pool(&mut self, pool: &Pool) -> Result<()> {
        let Some(grad) = self.gradient(pool.out)? else { return Ok(()) };
        match pool.source {
            Source::Image => Ok(()),
            Source::Feature(f) => {
                let (to, accumulate) = match &self.raw[f] {
                    Some(raw) => (raw.clone(), true),
                    None => (self.like(f)?, false),
                };
                pointwise::pool_grad(self.backend(), &grad, &to, accumulate)?;
                self.raw[f] = Some(to);
                Ok(())
            }
            Source::Normed(f, norm) => {
                let to = self.like(f)?;
                pointwise::pool_grad(self.backend(), &grad, &to, false)?;
                self.normed[f] = Some(to);
                self.sum(f, norm, true)
            }
        }
    }

    /// Gives back what nobody reads once `node` has run, as on the CPU: a join's gradient is kept until the join before
    /// has read it.
    fn release(&mut self, node: &Node) {
        match node {
            Node::Conv(conv) => {
                self.normed[conv.out] = None;
                self.raw[conv.out] = None;
                if let Some(join) = self.graph.join_of(conv.out)
                    && !matches!(join.residual, Some(Residual::Feature(_)))
                {
                    self.raw[join.out] = None;
                }
            }
            Node::Pool(pool) => self.raw[pool.out] = None,
            Node::Join(join) => {
                if let Some(next) = self.graph.skip_user(join.out) {
                    self.raw[next.out] = None;
                }
            }
        }
    }
}
