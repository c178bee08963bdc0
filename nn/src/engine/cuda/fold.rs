//! Norms of a frozen network that go into the convolutions before them.
//!
//! Where the statistics are constants and no gradient by the parameters is wanted, norm(conv(x)) is a convolution whose
//! weights are scaled and which has a bias. With the ReLU behind it, and the shortcut of a post-activation block where that
//! has the sum's shape, one pass over the map is left of two. Going back, the folded norms are identities: the scales are
//! in the weights.

use crate::engine::graph::{Conv, FeatureId, Graph, Join, Node, NormId, Residual, Source};
use crate::error::Result;
use crate::ops::cuda::backend::{Arena, Buffer};
use crate::ops::cuda::norm::table_len;

/// Biases begin at multiples of this, as cuDNN's kernels like them.
const ALIGNED: usize = 64;

/// What becomes of a convolution with its norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fold {
    pub norm: NormId,
    /// The map that it makes: its own, which is then behind norm and ReLU, or the block's.
    pub out: FeatureId,
    /// The shortcut that it adds.
    pub skip: Option<FeatureId>,
    /// First value of its bias.
    pub bias: usize,
}

/// All folds of a network.
pub(super) struct Folds {
    /// By node.
    nodes: Vec<Option<Fold>>,
    /// For the kernel `fold_norms`: three words a fold.
    pub words: Buffer,
    pub count: usize,
    /// Values of all biases.
    pub bias_len: usize,
}

impl Folds {
    pub(super) fn new(arena: &Arena, graph: &Graph) -> Result<Self> {
        let nodes = find(graph);
        let tables = tables(graph);
        let all: Vec<Fold> = nodes.iter().flatten().copied().collect();
        let words = all.iter().flat_map(|fold| {
            [graph.norms[fold.norm].channels, tables[fold.norm], fold.bias].map(|word| word as u32)
        });
        let words: Vec<u32> = words.collect();
        let bias_len = all.iter().map(|fold| graph.norms[fold.norm].channels.next_multiple_of(ALIGNED)).sum();
        Ok(Self { words: arena.words(&words)?, count: all.len(), bias_len, nodes })
    }

    /// What becomes of node `index`.
    pub(super) fn of(&self, index: usize) -> Option<Fold> {
        self.nodes[index]
    }

    /// Whether a norm is in its convolution.
    pub(super) fn has(&self, norm: NormId) -> bool {
        self.nodes.iter().flatten().any(|fold| fold.norm == norm)
    }
}

/// First float of each norm's table, in one group.
pub(super) fn tables(graph: &Graph) -> Vec<usize> {
    let mut next = 0;
    let place = |norm: &crate::engine::graph::Norm| {
        let place = next;
        next += table_len(norm.channels, 1);
        place
    };
    graph.norms.iter().map(place).collect()
}

/// The folds by node.
pub(super) fn find(graph: &Graph) -> Vec<Option<Fold>> {
    let mut bias = 0;
    let fold = |node: &Node| {
        let Node::Conv(conv) = node else { return None };
        let fold = Fold { bias, ..fold(graph, conv)? };
        bias += graph.norms[fold.norm].channels.next_multiple_of(ALIGNED);
        Some(fold)
    };
    graph.nodes.iter().map(fold).collect()
}

fn fold(graph: &Graph, conv: &Conv) -> Option<Fold> {
    let norm = graph.norm_of(conv.out).filter(|_| conv.bias.is_none() && conv.residual.is_none())?;
    let mut readers = graph.nodes.iter().filter(|node| node.reads().contains(&conv.out));
    let normed = Source::Normed(conv.out, norm);
    let is_normed = |node: &&Node| match node {
        Node::Conv(next) => {
            next.source == normed && next.residual.is_none_or(|residual| residual.feature() != conv.out)
        }
        Node::Pool(pool) => pool.source == normed,
        Node::Join(_) => false,
    };
    if readers.clone().all(|node| is_normed(&node)) {
        return Some(Fold { norm, out: conv.out, skip: None, bias: 0 });
    }
    let (Some(Node::Join(join)), None) = (readers.next(), readers.next()) else { return None };
    let skip = skip(graph, join).filter(|_| (join.feature, join.norm) == (conv.out, norm))?;
    Some(Fold { norm, out: join.out, skip, bias: 0 })
}

/// The shortcut of a block, where it is none or a map that can be added as it is.
fn skip(graph: &Graph, join: &Join) -> Option<Option<FeatureId>> {
    match join.residual {
        None => Some(None),
        Some(Residual::Feature(f)) if graph.features[f] == graph.features[join.out] => Some(Some(f)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Fold, find};
    use crate::engine::graph::Node;
    use crate::spec::NetworkSpec;

    /// In a post-activation network the stem and each block's first convolution; its second one where the shortcut has the
    /// sum's shape, as in the first of three stages of one block. In a pre-activation network a block's first ones alone:
    /// everything else is read without its norm too.
    #[test]
    fn the_norms_that_fold() {
        for (name, expected, with_skip) in
            [("resnet-8", 1 + 3 + 1, 1), ("resnet-14", 1 + 6 + 4, 4), ("wrn-10-2", 3, 0)]
        {
            let graph = NetworkSpec::named(name, 16, 10).unwrap().graph().unwrap();
            let folds: Vec<Option<Fold>> = find(&graph);
            assert_eq!(folds.iter().flatten().count(), expected, "{name}");
            assert_eq!(
                folds.iter().flatten().filter(|fold| fold.skip.is_some()).count(),
                with_skip,
                "{name}"
            );
            let mut next = 0;
            for (node, fold) in graph.nodes.iter().zip(&folds) {
                let (Node::Conv(conv), Some(fold)) = (node, fold) else { continue };
                assert_eq!(graph.norms[fold.norm].feature, conv.out);
                assert!(fold.bias >= next, "biases overlap");
                next = fold.bias + graph.norms[fold.norm].channels;
            }
        }
    }
}
