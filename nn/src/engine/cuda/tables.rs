//! Where a network's weights and norms lie: tables that stay on the device, so that one launch does all layers.

use super::fold;
use crate::engine::graph::{Graph, Node};
use crate::ops::cuda::weights::Layer;

/// Where a layer's packed weights may begin, in values: kernels and cuDNN read 16 bytes at a time.
const ALIGNED: usize = 64;

/// The layers over maps, the classifiers, and each node's first packed weight among those of its kind (0 for nodes that
/// have none).
pub(super) fn layers(graph: &Graph) -> (Vec<Layer>, Vec<Layer>, Vec<usize>) {
    let members = graph.member_count();
    let (folds, tables) = (fold::find(graph), fold::tables(graph));
    let (mut maps, mut linear) = (Vec::new(), Vec::new());
    let (mut map_len, mut linear_len) = (0, 0);
    let places = graph.nodes.iter().zip(&folds).map(|(node, fold)| {
        let Node::Conv(conv) = node else { return 0 };
        let is_linear = conv.bias.is_some();
        let (to, total) = if is_linear { (&mut linear, &mut linear_len) } else { (&mut maps, &mut map_len) };
        let shape = conv.op.shape;
        let layer = Layer {
            weight: conv.weight,
            fast: conv.fast,
            packed: *total,
            out: shape.channels_out,
            input: shape.channels_in,
            taps: shape.kernel * shape.kernel,
            norm: fold.map(|fold| tables[fold.norm]),
        };
        *total = (*total + layer.len() * members).next_multiple_of(ALIGNED);
        to.push(layer);
        layer.packed
    });
    let places = places.collect();
    (maps, linear, places)
}

/// For `running_statistics`, a norm after the other: channels; gamma and beta among the parameters; running mean and
/// variance among the buffers; its table, in one group.
pub(super) fn norm_words(graph: &Graph) -> Vec<u32> {
    let mut words = Vec::new();
    for (norm, table) in graph.norms.iter().zip(fold::tables(graph)) {
        let places = [norm.channels, norm.gamma, norm.beta, norm.running_mean, norm.running_var, table];
        words.extend(places.map(|place| place as u32));
    }
    words
}
