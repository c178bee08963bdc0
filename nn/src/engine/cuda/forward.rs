//! The forward pass on a device.

use super::fold::Fold;
use super::{Norms, OnDevice, Saved, Weights, float_at};
use crate::engine::forward::Request;
use crate::engine::graph::{Conv, FeatureId, Graph, Join, Node, NormId, Pool, Residual, Source};
use crate::engine::norm::{EPSILON, MOMENTUM};
use crate::error::{Error, Result};
use crate::ops::cuda::backend::{Arena, Backend, Buffer};
use crate::ops::cuda::convolution::{Call, Epilogue, Pass};
use crate::ops::cuda::norm::{self, Places};
use crate::ops::cuda::parts::Parts;
use crate::ops::cuda::pointwise::{self, Map, Rows, Skip};

/// A pass on its way.
struct Walk<'a> {
    on: &'a OnDevice,
    arena: &'a Arena,
    graph: &'a Graph,
    params: u64,
    /// (images, C, H, W), f32.
    images: u64,
    rows: Rows,
    weights: Weights,
    features: Vec<Option<Map>>,
    norms: Norms,
    batch_statistics: bool,
    /// Whether the running statistics follow them.
    follow: bool,
}

impl OnDevice {
    /// Runs the graph over `images` (f32, planar, in [0, 1]) and writes its output (rows, C, H, W) to `output`, with
    /// working memory from `arena`. With `weight_grads` the inputs of convolutions are kept too, for the gradient by their
    /// weights.
    ///
    /// # Safety
    /// The addresses must be device memory of the images, the parameters and the output.
    pub(super) unsafe fn forward_in(
        &self,
        arena: &Arena,
        graph: &Graph,
        (params, images, output): (u64, u64, u64),
        request: Request,
        weight_grads: bool,
    ) -> Result<Option<Saved>> {
        let groups = request.groups.unwrap_or(1).clamp(1, request.batch.max(1));
        let rows = Rows { members: graph.member_count(), batch: request.batch, groups };
        let batch_statistics = request.groups.is_some();
        let norms = match batch_statistics {
            true => Norms::new(arena, graph, groups)?,
            false => self.running_norms(arena, graph, params)?,
        };
        let features = graph.features.iter().map(|_| None).collect();
        // Of a frozen network, the norms whose statistics are constants go into the weights.
        let is_frozen = !batch_statistics && !weight_grads;
        let weights = self.weights(arena, params, is_frozen.then_some(&norms))?;
        let follow = request.follow;
        let mut walk = Walk {
            on: self,
            arena,
            graph,
            params,
            images,
            rows,
            weights,
            features,
            norms,
            batch_statistics,
            follow,
        };
        let mut inputs: Vec<Option<Map>> = Vec::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            let input = match node {
                Node::Conv(conv) => Some(walk.conv(index, conv)?),
                Node::Join(join) => walk.join(join).map(|()| None)?,
                Node::Pool(pool) => walk.pool(pool).map(|()| None)?,
            };
            inputs.push(input.filter(|_| request.keep && weight_grads));
            if !request.keep {
                walk.release(index);
            }
        }
        pointwise::map_out(walk.backend(), walk.feature(graph.output())?, output)?;
        let Walk { features, norms, weights, .. } = walk;
        Ok(request.keep.then_some(Saved { rows, features, inputs, norms, batch_statistics, weights }))
    }
}

impl Walk<'_> {
    fn backend(&self) -> &dyn Backend {
        self.arena.backend()
    }

    fn feature(&self, feature: FeatureId) -> Result<&Map> {
        let map = self.features[feature].as_ref();
        map.ok_or_else(|| Error::State(format!("feature map {feature} is read before it is made")))
    }

    fn map(&self, linear: bool, feature: FeatureId) -> Result<Map> {
        Map::new(self.arena, self.on.element(linear), self.graph.features[feature], self.rows.count())
    }

    /// What a convolution reads: made for it, or the feature map itself.
    fn input(&self, source: Source, linear: bool) -> Result<Map> {
        match source {
            Source::Image => {
                let rows = if self.graph.tiled_images { self.rows.count() } else { self.rows.batch };
                let to = Map::new(self.arena, self.on.element(linear), self.graph.image, rows)?;
                let (mean, std) = (&self.on.pixel_mean, &self.on.pixel_std);
                pointwise::image_in(self.backend(), self.images, mean, std, &to)?;
                Ok(to)
            }
            Source::Feature(f) => Ok(self.feature(f)?.clone()),
            Source::Normed(f, norm) if self.is_folded(norm) => Ok(self.feature(f)?.clone()),
            Source::Normed(f, norm) => {
                let to = self.map(linear, f)?;
                norm::norm_relu(self.backend(), self.rows, self.feature(f)?, &self.norms.get(norm), &to)?;
                Ok(to)
            }
        }
    }

    fn conv(&mut self, index: usize, conv: &Conv) -> Result<Map> {
        let linear = conv.bias.is_some();
        let input = self.input(conv.source, linear)?;
        let fold = self.on.folds.of(index).filter(|fold| self.is_folded(fold.norm));
        let out = fold.map_or(conv.out, |fold| fold.out);
        let output = self.map(linear, out)?;
        let epilogue = fold.map(|fold| self.epilogue(fold)).transpose()?;
        let call = Call {
            pass: Pass::Forward,
            epilogue,
            input: input.at(),
            output: output.at(),
            bias: conv.bias.map_or(0, |bias| float_at(self.params, bias)),
            ..self.on.call(self.graph, index, conv, self.rows, &self.weights)
        };
        // SAFETY: the maps are of the convolution's shape, the packed weights of this network.
        unsafe { self.backend().convolve(self.arena, &call)? };
        if fold.is_none() {
            let skip = match conv.residual {
                Some(Residual::Feature(f)) => Skip::Map(self.feature(f)?),
                _ => Skip::None,
            };
            self.finish(out, &output, skip)?;
        }
        self.features[out] = Some(output);
        Ok(input)
    }

    /// Whether this pass has a norm in its convolution.
    fn is_folded(&self, norm: NormId) -> bool {
        self.weights.biases.is_some() && self.on.folds.has(norm)
    }

    fn epilogue(&self, fold: Fold) -> Result<Epilogue> {
        let biases = self.weights.biases.as_ref().map_or(0, Buffer::at);
        let skip = fold.skip.map(|f| self.feature(f)).transpose()?;
        let bias = biases + (fold.bias * self.on.element(false).bytes()) as u64;
        Ok(Epilogue { bias, skip: skip.map_or(0, Map::at) })
    }

    fn join(&mut self, join: &Join) -> Result<()> {
        if self.is_folded(join.norm) {
            return Ok(());
        }
        let output = self.map(false, join.out)?;
        let skip = match join.residual {
            None => Skip::None,
            Some(Residual::Feature(f)) => Skip::Map(self.feature(f)?),
            Some(Residual::Normed(f, norm)) => Skip::Normed(self.feature(f)?, &self.norms.get(norm)),
        };
        let norm = self.norms.get(join.norm);
        pointwise::join(self.backend(), self.rows, self.feature(join.feature)?, &norm, skip, &output)?;
        self.finish(join.out, &output, Skip::None)?;
        self.features[join.out] = Some(output);
        Ok(())
    }

    fn pool(&mut self, pool: &Pool) -> Result<()> {
        let output = self.map(true, pool.out)?;
        let (feature, norm) = match pool.source {
            Source::Image => return Err(Error::State("pooled images are no network".to_owned())),
            Source::Feature(f) => (f, None),
            Source::Normed(f, norm) => (f, Some(self.norms.get(norm))),
        };
        pointwise::pool(self.backend(), self.rows, self.feature(feature)?, norm.as_ref(), &output)?;
        self.features[pool.out] = Some(output);
        Ok(())
    }

    /// The pass over a new map that adds its shortcut and sums for its norm's statistics.
    fn finish(&self, feature: FeatureId, map: &Map, skip: Skip<'_>) -> Result<()> {
        let (backend, rows) = (self.backend(), self.rows);
        let of_batch = self.graph.norm_of(feature).filter(|_| self.batch_statistics);
        let Some(index) = of_batch else {
            return match skip {
                Skip::None => Ok(()),
                skip => pointwise::add_skip(backend, map, skip),
            };
        };
        let norm = &self.graph.norms[index];
        let parts = Parts::new(self.arena, map, rows)?;
        let places = Places {
            gamma: float_at(self.params, norm.gamma),
            beta: float_at(self.params, norm.beta),
            running: self
                .follow
                .then(|| [norm.running_mean, norm.running_var].map(|first| self.on.running.float(first))),
        };
        let constants = (EPSILON, MOMENTUM);
        norm::moments(backend, rows, map, skip, &parts, places, &self.norms.get(index), constants)
    }

    /// Gives back the maps that no later node reads.
    fn release(&mut self, index: usize) {
        let later = &self.graph.nodes[index + 1..];
        for feature in self.graph.nodes[index].reads() {
            if !later.iter().any(|node| node.reads().contains(&feature)) {
                self.features[feature] = None;
            }
        }
    }
}
