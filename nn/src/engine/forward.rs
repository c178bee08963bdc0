//! The forward pass.

use std::ops::Range;

use rayon::prelude::*;

use super::graph::{Conv, FeatureId, Graph, Node, Residual, Source};
use super::memory::{Arena, Buffer, Rows};
use super::norm::Statistics;
use super::plan::{self, Plan};
use crate::ops::cpu::pointwise::{self, Skip};
use crate::ops::cpu::simd::Level;
use crate::ops::cpu::{BLOCK, padded};
use crate::profile::{Kind, measure};

/// What the backward pass needs of a forward pass.
pub(crate) struct Saved {
    pub plan: Plan,
    /// Every feature map of every row.
    pub features: Vec<Buffer>,
    pub statistics: Vec<Statistics>,
    /// Whether the statistics are the batch's own.
    pub batch_statistics: bool,
}

/// What a forward pass is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    /// Images in the batch; a graph with tiled images reads members * batch.
    pub batch: usize,
    /// Batch statistics in this many groups; `None` takes the running ones.
    pub groups: Option<usize>,
    /// Whether a backward pass may follow.
    pub keep: bool,
}

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

/// Runs the graph and returns its output (rows, C, H, W) and, where asked for, what backward needs.
pub(crate) fn run(
    graph: &Graph,
    arena: &Arena,
    params: &[f32],
    buffers: &mut [f32],
    images: &[f32],
    request: Request,
) -> (Vec<f32>, Option<Saved>) {
    let plan = Plan::new(graph, request.batch, request.groups.unwrap_or(1));
    let packed = measure(Kind::Weights, || pack_weights(graph, arena, params, false));
    let context = Context { graph, plan, level: Level::detect(), params, images, packed: &packed };
    let mut statistics: Vec<Statistics> = if request.groups.is_some() {
        vec![Statistics::default(); graph.norms.len()]
    } else {
        graph.norms.iter().map(|norm| Statistics::running(norm, &plan, params, buffers)).collect()
    };
    let out_feature = graph.features[graph.output()];
    let out_len = out_feature.channels * out_feature.height * out_feature.width;
    let mut output = vec![0.0; plan.rows() * out_len];
    let tasks = plan.tasks();
    if request.groups.is_none() && !request.keep {
        let out = Rows::new(&mut output, out_len, 0);
        let (place_of, sizes) = plan::places(graph);
        tasks.par_iter().for_each(|task| {
            let mut places: Vec<Buffer> = sizes.iter().map(|len| arena.take(len * plan.sub_rows)).collect();
            let mut scratch = arena.take(scratch_len(graph, &plan));
            for rows in plan.sub_batches(task) {
                let starts: Vec<(*mut f32, usize)> =
                    places.iter_mut().map(|p| (p.as_mut_ptr(), p.len())).collect();
                let features: Vec<Rows<'_>> = place_of
                    .iter()
                    .zip(&graph.features)
                    .map(|(&place, feature)| {
                        let (start, len) = starts[place];
                        // SAFETY: this task's own memory; maps that share a place are never needed at the same time.
                        let values = unsafe { std::slice::from_raw_parts_mut(start, len) };
                        Rows::new(values, feature.len(), rows.start)
                    })
                    .collect();
                for node in 0..graph.nodes.len() {
                    node_forward(&context, node, rows.clone(), &features, &statistics, &[], &mut scratch);
                }
                write_output(graph, rows, &features, &out);
            }
        });
        return (output, None);
    }

    let mut storage: Vec<Buffer> = graph.features.iter().map(|f| arena.take(f.len() * plan.rows())).collect();
    let mut moments: Vec<Buffer> = Vec::new();
    if request.groups.is_some() {
        moments.extend(graph.norms.iter().map(|n| arena.take(2 * padded(n.channels) * plan.rows())));
    }
    for segment in plan::forward_segments(graph, request.groups.is_some()) {
        if request.groups.is_some() {
            for norm in graph.nodes[segment.clone()].iter().flat_map(Node::norms) {
                if statistics[norm].affine.is_empty() {
                    let feature = graph.features[graph.norms[norm].feature];
                    let pixels = feature.height * feature.width;
                    statistics[norm] = measure(Kind::Statistics, || {
                        Statistics::of_batch(
                            &graph.norms[norm],
                            &plan,
                            &moments[norm],
                            pixels,
                            params,
                            buffers,
                        )
                    });
                }
            }
        }
        let features = rows_of(graph, &mut storage);
        let moments: Vec<Rows<'_>> = moments
            .iter_mut()
            .zip(&graph.norms)
            .map(|(values, norm)| Rows::new(values, 2 * padded(norm.channels), 0))
            .collect();
        tasks.par_iter().for_each(|task| {
            let mut scratch = arena.take(scratch_len(graph, &plan));
            for rows in plan.sub_batches(task) {
                for node in segment.clone() {
                    node_forward(
                        &context,
                        node,
                        rows.clone(),
                        &features,
                        &statistics,
                        &moments,
                        &mut scratch,
                    );
                }
            }
        });
    }
    let features = rows_of(graph, &mut storage);
    write_output(graph, 0..plan.rows(), &features, &Rows::new(&mut output, out_len, 0));
    drop(features);
    let saved = request.keep.then(|| Saved {
        plan,
        features: storage,
        statistics,
        batch_statistics: request.groups.is_some(),
    });
    (output, saved)
}

pub(crate) fn rows_of<'a>(graph: &Graph, storage: &'a mut [Buffer]) -> Vec<Rows<'a>> {
    storage.iter_mut().zip(&graph.features).map(|(values, f)| Rows::new(values, f.len(), 0)).collect()
}

/// Every convolution's weights, times s r^T for each member, in the forward or the transposed order.
pub(crate) fn pack_weights(
    graph: &Graph,
    arena: &Arena,
    params: &[f32],
    transposed: bool,
) -> Vec<Option<Buffer>> {
    let members = graph.member_count();
    graph
        .nodes
        .par_iter()
        .map(|node| {
            let Node::Conv(conv) = node else { return None };
            let len = conv.op.shape.packed_len();
            let mut packed = arena.take(len * members);
            packed.par_chunks_mut(len).enumerate().for_each(|(member, to)| {
                let weight = &params[conv.weight..];
                let fast = fast_weights(conv, params, member);
                if transposed {
                    conv.op.pack_transposed(weight, fast, to);
                } else {
                    conv.op.pack_forward(weight, fast, to);
                }
            });
            Some(packed)
        })
        .collect()
}

/// s (O) and r (I) of a member.
pub(crate) fn fast_weights<'a>(
    conv: &Conv,
    params: &'a [f32],
    member: usize,
) -> Option<(&'a [f32], &'a [f32])> {
    conv.fast.map(|(s, r)| {
        let (o, i) = (conv.op.shape.channels_out, conv.op.shape.channels_in);
        (&params[s + member * o..][..o], &params[r + member * i..][..i])
    })
}

/// Floats of bordered inputs that the largest convolution reads at a time.
fn scratch_len(graph: &Graph, plan: &Plan) -> usize {
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
fn node_forward(
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

/// The packed weights of node `index` for one member; empty where the node has none.
pub(crate) fn member_weights<'a>(
    packed: &'a [Option<Buffer>],
    index: usize,
    plan: &Plan,
    member: usize,
) -> &'a [f32] {
    let Some(all) = &packed[index] else { return &[] };
    let len = all.len() / plan.members;
    &all[member * len..(member + 1) * len]
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

/// (x - mean) / std of an image, channel-blocked and bordered.
fn image_into(context: &Context<'_>, border: usize, row: usize, to: &mut [f32]) {
    let shape = context.graph.image;
    let pixels = shape.height * shape.width;
    let image =
        &context.images[context.plan.image(row) * shape.channels * pixels..][..shape.channels * pixels];
    let width = shape.width + 2 * border;
    let plane = width * (shape.height + 2 * border);
    to.fill(0.0);
    for (c, values) in image.chunks_exact(pixels).enumerate() {
        let (mean, std) = (context.graph.pixel_mean[c], context.graph.pixel_std[c]);
        for (y, line) in values.chunks_exact(shape.width).enumerate() {
            let start = (c / BLOCK * plane + (y + border) * width + border) * BLOCK + c % BLOCK;
            for (value, to) in line.iter().zip(to[start..].iter_mut().step_by(BLOCK)) {
                *to = (value - mean) / std;
            }
        }
    }
}

/// out (blocks, 16) = mean over the pixels of each block.
fn mean_over_pixels(values: &[f32], out: &mut [f32]) {
    let per_block = values.len() / (out.len() / BLOCK).max(1);
    let scale = BLOCK as f32 / per_block as f32;
    for (block, out) in values.chunks_exact(per_block).zip(out.chunks_exact_mut(BLOCK)) {
        out.fill(0.0);
        for pixel in block.chunks_exact(BLOCK) {
            for (sum, value) in out.iter_mut().zip(pixel) {
                *sum += value;
            }
        }
        for value in out.iter_mut() {
            *value *= scale;
        }
    }
}

/// The last feature map of `rows`, unblocked to (C, H, W).
fn write_output(graph: &Graph, rows: Range<usize>, features: &[Rows<'_>], out: &Rows<'_>) {
    let feature = graph.output();
    let shape = graph.features[feature];
    for row in rows {
        // SAFETY: this task's row.
        let (from, to) = unsafe { (features[feature].get(row), out.get_mut(row)) };
        unblock(from, to, shape.channels, shape.height * shape.width);
    }
}

/// to (C, pixels) = from (C / 16, pixels, 16).
pub(crate) fn unblock(from: &[f32], to: &mut [f32], channels: usize, pixels: usize) {
    for c in 0..channels {
        let lane = from[c / BLOCK * pixels * BLOCK + c % BLOCK..].iter().step_by(BLOCK);
        for (to, from) in to[c * pixels..(c + 1) * pixels].iter_mut().zip(lane) {
            *to = *from;
        }
    }
}

/// to (C / 16, pixels, 16) = from (C, pixels); lanes without a channel become zero.
pub(crate) fn block(from: &[f32], to: &mut [f32], channels: usize, pixels: usize) {
    to.fill(0.0);
    for c in 0..channels {
        let lane = to[c / BLOCK * pixels * BLOCK + c % BLOCK..].iter_mut().step_by(BLOCK);
        for (to, from) in lane.zip(&from[c * pixels..(c + 1) * pixels]) {
            *to = *from;
        }
    }
}
