//! Gradients of feature maps on their way back, and who reads them.
//!
//! A map's gradient has up to two parts, both one value an element: `normed`, which arrives behind its norm (and ReLU),
//! and `raw`, which arrives directly. The gradient by the map itself is the norm's gradient of the first plus the second;
//! it is worked out where a node needs it and stored only where a skip hands it on.

use super::graph::{FeatureId, Graph, Join, Node, NormId, Residual, Source};
use super::memory::{Arena, Buffer, Rows};

/// Gradient buffers of a set of rows: those of a whole pass, or those of one task's sub-batch.
#[derive(Default)]
pub(crate) struct Storage {
    pub normed: Vec<Option<Buffer>>,
    pub raw: Vec<Option<Buffer>>,
}

/// The same as rows.
pub(crate) struct GradRows<'a> {
    pub normed: Vec<Option<Rows<'a>>>,
    pub raw: Vec<Option<Rows<'a>>>,
}

impl Storage {
    pub(crate) fn new(graph: &Graph) -> Self {
        let empty = || graph.features.iter().map(|_| None).collect();
        Self { normed: empty(), raw: empty() }
    }

    pub(crate) fn rows<'a>(&'a mut self, graph: &Graph, first_row: usize) -> GradRows<'a> {
        let view = |all: &'a mut [Option<Buffer>]| -> Vec<Option<Rows<'a>>> {
            all.iter_mut()
                .zip(&graph.features)
                .map(|(values, f)| values.as_mut().map(|v| Rows::new(v, f.len(), first_row)))
                .collect()
        };
        GradRows { normed: view(&mut self.normed), raw: view(&mut self.raw) }
    }

    /// Makes the buffers that the backward of `node` writes.
    pub(crate) fn prepare(&mut self, graph: &Graph, arena: &Arena, node: &Node, rows: usize) {
        let need = |all: &mut Vec<Option<Buffer>>, f: FeatureId| {
            if all[f].is_none() {
                all[f] = Some(arena.take(graph.features[f].len() * rows));
            }
        };
        let (source, residual) = match node {
            Node::Conv(conv) => (conv.source, conv.residual),
            Node::Pool(pool) => (pool.source, None),
            Node::Join(join) => {
                if let Some(Residual::Normed(f, _)) = join.residual {
                    need(&mut self.normed, f);
                }
                return;
            }
        };
        match source {
            Source::Image => {}
            Source::Feature(f) => need(&mut self.raw, f),
            Source::Normed(f, _) => need(&mut self.normed, f),
        }
        if let Some(Residual::Feature(f)) = residual {
            need(&mut self.raw, f);
        }
    }

    /// Gives back what nobody reads once `node` has run: the gradient of its own output. The gradient behind a join's
    /// norm is also what its skip hands on, so it is kept until the join before has read it.
    pub(crate) fn release(&mut self, graph: &Graph, node: &Node) {
        match node {
            Node::Conv(conv) => {
                self.normed[conv.out] = None;
                self.raw[conv.out] = None;
                if let Some(join) = graph.join_of(conv.out)
                    && !matches!(join.residual, Some(Residual::Feature(_)))
                {
                    self.raw[join.out] = None;
                }
            }
            Node::Pool(pool) => self.raw[pool.out] = None,
            Node::Join(join) => {
                if let Some(next) = graph.skip_user(join.out) {
                    self.raw[next.out] = None;
                }
            }
        }
    }
}

impl<'a> GradRows<'a> {
    /// The gradient behind a feature map's norm. A join makes it in place, from the gradient of the join's output.
    pub(crate) fn normed(&self, graph: &Graph, feature: FeatureId) -> Option<&Rows<'a>> {
        match graph.join_of(feature) {
            Some(join) => self.raw[join.out].as_ref(),
            None => self.normed[feature].as_ref(),
        }
    }
}

impl Graph {
    /// The join whose main branch is this feature map.
    pub(crate) fn join_of(&self, feature: FeatureId) -> Option<&Join> {
        self.joins().find(|join| join.feature == feature)
    }

    /// The join whose residual is this feature map.
    pub(crate) fn skip_user(&self, feature: FeatureId) -> Option<&Join> {
        self.joins().find(|join| join.residual == Some(Residual::Feature(feature)))
    }

    pub(crate) fn joins(&self) -> impl Iterator<Item = &Join> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Join(join) => Some(join),
            _ => None,
        })
    }

    /// The norm through which a feature map is read.
    pub(crate) fn norm_of(&self, feature: FeatureId) -> Option<NormId> {
        self.norms.iter().position(|norm| norm.feature == feature)
    }
}
