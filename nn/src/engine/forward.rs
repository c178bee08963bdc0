//! The forward pass.

use rayon::prelude::*;

use super::graph::{Graph, Node};
use super::layout::write_output;
use super::memory::{Arena, Buffer, Rows};
use super::node_forward::{Context, Scratch, node_forward};
use super::norm::Statistics;
use super::plan::{self, Plan};
use super::weights::pack_weights;
use crate::ops::cpu::padded;
use crate::ops::cpu::simd::Level;
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Images in the batch; a graph with tiled images reads members * batch.
    pub batch: usize,
    /// Batch statistics in this many groups; `None` takes the running ones.
    pub groups: Option<usize>,
    /// Whether the running statistics follow the batch's.
    pub follow: bool,
    /// Whether a backward pass may follow.
    pub keep: bool,
    /// Whether a device may run it beside other work.
    pub beside: bool,
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
            let mut scratch = Scratch::new(graph, arena, &plan);
            for rows in plan.sub_batches(task) {
                let starts: Vec<(*mut f32, usize)> =
                    places.iter_mut().map(|p| (p.as_mut_ptr(), p.len())).collect();
                let features: Vec<Rows<'_>> = place_of
                    .iter()
                    .zip(&graph.features)
                    .map(|(&place, feature)| {
                        let (start, floats) = starts[place];
                        // SAFETY: this task's own memory; maps that share a place are never needed at the same time.
                        unsafe { Rows::sharing(start, floats, feature.len(), rows.start) }
                    })
                    .collect();
                // SAFETY: the rows are this task's.
                unsafe {
                    for node in 0..graph.nodes.len() {
                        let rows = rows.clone();
                        node_forward(&context, node, rows, &features, &statistics, &[], &mut scratch);
                    }
                    write_output(graph, rows, &features, &out);
                }
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
                            request.follow.then_some(&mut *buffers),
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
            let mut scratch = Scratch::new(graph, arena, &plan);
            for rows in plan.sub_batches(task) {
                for node in segment.clone() {
                    let rows = rows.clone();
                    // SAFETY: the rows are this task's.
                    unsafe {
                        node_forward(&context, node, rows, &features, &statistics, &moments, &mut scratch);
                    }
                }
            }
        });
    }
    let features = rows_of(graph, &mut storage);
    let out = Rows::new(&mut output, out_len, 0);
    // SAFETY: the tasks are over.
    unsafe { write_output(graph, 0..plan.rows(), &features, &out) };
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
