//! One node's forward pass for a few rows.

use std::ops::Range;

use super::graph::{Conv, FeatureId, Graph, Node, Residual, Source};
use super::layout::{image_into, mean_over_pixels};
use super::memory::{Arena, Buffer, Rows};
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

/// A task's working memory.
pub(crate) struct Scratch {
    /// Bordered inputs of a sub-batch.
    inputs: Buffer,
    /// What a convolution's sum needs.
    tiles: Buffer,
}

impl Scratch {
    pub(crate) fn new(graph: &Graph, arena: &Arena, plan: &Plan) -> Self {
        let (mut inputs, mut tiles) = (0, 0);
        for node in &graph.nodes {
            match node {
                Node::Conv(conv) => {
                    inputs = inputs.max(conv.op.shape.bordered_in_len());
                    tiles = tiles.max(conv.op.scratch_len());
                }
                Node::Join(_) => {}
                Node::Pool(pool) => {
                    if let Source::Feature(f) | Source::Normed(f, _) = pool.source {
                        inputs = inputs.max(graph.features[f].len());
                    }
                }
            }
        }
        Self { inputs: arena.take(inputs * plan.sub_rows), tiles: arena.take(tiles) }
    }
}

/// Runs one node for the rows of a sub-batch.
///
/// # Safety
/// No other task may touch any of these rows, of any map, meanwhile (see [`Rows`]).
pub(crate) unsafe fn node_forward(
    context: &Context<'_>,
    index: usize,
    rows: Range<usize>,
    features: &[Rows<'_>],
    statistics: &[Statistics],
    moments: &[Rows<'_>],
    scratch: &mut Scratch,
) {
    let graph = context.graph;
    let node = &graph.nodes[index];
    let (plan, level) = (&context.plan, context.level);
    if let Node::Conv(conv) = node {
        convolve(context, index, conv, rows.clone(), features, statistics, scratch);
    }
    for row in rows {
        let group = plan.group(row);
        // SAFETY: a row is touched by one task at a time (see `Rows`); its inputs were made by earlier nodes.
        let (input, out) = unsafe { (|f: usize| features[f].get(row), features[node.out()].get_mut(row)) };
        match node {
            Node::Conv(conv) => {
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
                let inputs = &mut scratch.inputs;
                // SAFETY: this task's row.
                let read = unsafe { source_into(context, pool.source, 0, row, features, statistics, inputs) };
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

/// The sum of a convolution alone, for all rows of a sub-batch at once.
fn convolve(
    context: &Context<'_>,
    index: usize,
    conv: &Conv,
    rows: Range<usize>,
    features: &[Rows<'_>],
    statistics: &[Statistics],
    scratch: &mut Scratch,
) {
    let shape = &conv.op.shape;
    let inputs: Vec<&[f32]> = measure(Kind::Pointwise, || {
        let borders = scratch.inputs.chunks_exact_mut(shape.bordered_in_len());
        // SAFETY: this task's rows.
        let read = |(row, bordered)| unsafe {
            source_into(context, conv.source, shape.pad(), row, features, statistics, bordered)
        };
        rows.clone().zip(borders).map(read).collect()
    });
    // SAFETY: this task's rows.
    let mut outs = unsafe { features[conv.out].get_all_mut(rows.clone()) };
    let weights = member_weights(context, index, conv, context.plan.member(rows.start));
    measure(Kind::Forward, || {
        conv.op.forward(context.level, &inputs, weights, &mut outs, &mut scratch.tiles);
    });
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
///
/// # Safety
/// No other task may touch this row, of any map, meanwhile (see [`Rows`]).
pub(crate) unsafe fn source_into<'a>(
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
