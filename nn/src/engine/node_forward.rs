//! One node's forward pass for a few rows.

use std::ops::Range;

use super::graph::{FeatureId, Graph, Node, Residual, Source};
use super::layout::{image_into, mean_over_pixels};
use super::memory::{Buffer, Rows};
use super::norm::Statistics;
use super::plan::Plan;
use super::weights::member_weights;
use crate::ops::cpu::padded;
use crate::ops::cpu::pointwise::{self, Skip};
use crate::ops::cpu::simd::Level;
use crate::profile::{Kind, measure};

/// Read by every task of a pass.
pub(crate) struct Context<'a> {
    pub graph: &'a Graph,
    pub plan: Plan,
    pub level: Level,
    pub params: &'a [f32],
    /// (images, C, H, W) in [0, 1].
    pub images: &'a [f32],
    /// Packed weights of each node, one part a member.
    pub packed: &'a [Option<Buffer>],
}

/// Floats of bordered inputs that the largest convolution reads at a time.
pub(crate) fn scratch_len(graph: &Graph, plan: &Plan) -> usize {
    graph
        .nodes
        .iter()
        .map(|node| match node {
            Node::Conv(conv) => conv.op.shape.bordered_in_len(),
            Node::Join(join) => graph.features[join.out].len(),
            Node::Pool(pool) => match pool.source {
                Source::Feature(f) | Source::Normed(f, _) => graph.features[f].len(),
                Source::Image => 0,
            },
        })
        .max()
        .unwrap_or(0)
        * plan.sub_rows
}

/// Runs one node for the rows of a sub-batch.
pub(crate) fn node_forward(
    context: &Context<'_>,
    index: usize,
    rows: Range<usize>,
    features: &[Rows<'_>],
    statistics: &[Statistics],
    moments: &[Rows<'_>],
    scratch: &mut [f32],
) {
    let graph = context.graph;
    let node = &graph.nodes[index];
    let (plan, level) = (&context.plan, context.level);
    for row in rows {
        let group = plan.group(row);
        // SAFETY: a row is touched by one task at a time (see `Rows`); its inputs were made by earlier nodes.
        let (input, out) = unsafe { (|f: usize| features[f].get(row), features[node.out()].get_mut(row)) };
        match node {
            Node::Conv(conv) => {
                let bordered = &mut scratch[..conv.op.shape.bordered_in_len()];
                let read = measure(Kind::Pointwise, || {
                    source_into(
                        context,
                        conv.source,
                        conv.op.shape.pad(),
                        row,
                        features,
                        statistics,
                        bordered,
                    )
                });
                let packed = member_weights(context.packed, index, plan, plan.member(row));
                measure(Kind::Forward, || conv.op.forward(level, read, packed, out));
                if let Some(bias) = conv.bias {
                    let channels = conv.op.shape.channels_out;
                    let bias = bias + graph.members.map_or(0, |_| plan.member(row) * channels);
                    for (value, bias) in out.iter_mut().zip(&context.params[bias..][..channels]) {
                        *value += bias;
                    }
                }
                if let Some(residual) = conv.residual {
                    let skip = skip(graph, residual, conv.out, input(residual.feature()), statistics, group);
                    let extent = graph.features[conv.out].extent(0);
                    // SAFETY: the slices are this row's images of the graph's shapes.
                    measure(Kind::Pointwise, || unsafe { pointwise::add_skip(level, skip, out, &extent) });
                }
            }
            Node::Join(join) => {
                let skip = join
                    .residual
                    .map_or(Skip::None, |r| skip(graph, r, join.out, input(r.feature()), statistics, group));
                let extent = graph.features[join.out].extent(0);
                let affine = &statistics[join.norm].affine[group];
                // SAFETY: as above.
                measure(Kind::Pointwise, || unsafe {
                    pointwise::join(level, input(join.feature), affine, skip, out, &extent);
                });
            }
            Node::Pool(pool) => {
                let read = source_into(context, pool.source, 0, row, features, statistics, scratch);
                mean_over_pixels(read, out);
            }
        }
        if !moments.is_empty() {
            for (norm, moments) in graph.norms.iter().zip(moments).filter(|(n, _)| n.feature == node.out()) {
                // SAFETY: this task's row.
                let (sum, square) = unsafe { moments.get_mut(row) }.split_at_mut(padded(norm.channels));
                let extent = graph.features[norm.feature].extent(0);
                // SAFETY: the slices hold the feature map's channels.
                measure(Kind::Statistics, || unsafe { pointwise::moments(level, out, sum, square, &extent) });
            }
        }
    }
}

fn skip<'a>(
    graph: &Graph,
    residual: Residual,
    out: FeatureId,
    values: &'a [f32],
    statistics: &'a [Statistics],
    group: usize,
) -> Skip<'a> {
    match residual {
        Residual::Normed(_, norm) => Skip::Normed { values, affine: &statistics[norm].affine[group] },
        Residual::Feature(f) => {
            let shape = graph.features[f];
            let extent = shape.extent(0);
            let stride = graph.skip_stride(f, out);
            Skip::Image { values, blocks: extent.blocks, stride, height: shape.height, width: shape.width }
        }
    }
}

/// A node's input for one row, with a border of zeros: written into `scratch`, or the feature map itself where it is
/// read as it is.
pub(crate) fn source_into<'a>(
    context: &Context<'_>,
    source: Source,
    border: usize,
    row: usize,
    features: &'a [Rows<'_>],
    statistics: &[Statistics],
    scratch: &'a mut [f32],
) -> &'a [f32] {
    let graph = context.graph;
    match source {
        Source::Image => {
            let to = &mut scratch[..graph.image.extent(border).bordered_len()];
            image_into(context, border, row, to);
            to
        }
        Source::Feature(f) => {
            // SAFETY: made by an earlier node, no longer written.
            let values = unsafe { features[f].get(row) };
            if border == 0 {
                return values;
            }
            let extent = graph.features[f].extent(border);
            let to = &mut scratch[..extent.bordered_len()];
            // SAFETY: the slices hold the feature map.
            unsafe { pointwise::copy(context.level, values, to, &extent) }
            to
        }
        Source::Normed(f, norm) => {
            // SAFETY: as above.
            let values = unsafe { features[f].get(row) };
            let affine = &statistics[norm].affine[context.plan.group(row)];
            let extent = graph.features[f].extent(border);
            let to = &mut scratch[..extent.bordered_len()];
            // SAFETY: as above.
            unsafe { pointwise::norm_relu(context.level, values, affine, to, &extent) }
            to
        }
    }
}
