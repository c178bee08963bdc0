//! The backward pass: from the gradient of the output to those of parameters and images.

use rayon::prelude::*;

use super::forward::{Saved, rows_of};
use super::gradients::Storage;
use super::graph::Graph;
use super::memory::{Arena, Buffer, Rows};
use super::node_backward::{Backward, Scratch};
use super::node_forward::Context;
use super::norm::Statistics;
use super::plan::{self, Plan};
use super::weights::{WeightSums, pack_weights, reduce_weights, weight_sums};
use crate::ops::cpu::padded;
use crate::ops::cpu::pointwise::GradAffine;
use crate::ops::cpu::simd::Level;
use crate::profile::{Kind, measure};

/// Which gradients are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub params: bool,
    pub images: bool,
}

/// What came out: gradients of the flat parameters and of the images, where asked for.
pub(crate) struct Gradients {
    pub params: Option<Vec<f32>>,
    pub images: Option<Vec<f32>>,
}

/// Propagates `grad_output` (rows, C, H, W) back to parameters and images.
pub(crate) fn run(
    graph: &Graph,
    arena: &Arena,
    params: &[f32],
    images: &[f32],
    saved: &mut Saved,
    grad_output: &[f32],
    wanted: Wanted,
) -> Gradients {
    let plan = saved.plan;
    let packed = measure(Kind::Weights, || pack_weights(graph, arena, params, true));
    let context = Context { graph, plan, level: Level::detect(), params, images, packed: &packed };
    let image_len = graph.image.channels * graph.image.height * graph.image.width;
    let mut image_storage = if wanted.images { vec![0.0; plan.rows() * image_len] } else { Vec::new() };
    let image_rows = wanted.images.then(|| Rows::new(&mut image_storage, image_len, 0));
    let features = rows_of(graph, &mut saved.features);
    let tasks = plan.tasks();
    let mut param_grads = vec![0.0; if wanted.params { graph.layout.parameter_count() } else { 0 }];
    let mut coefficients: Vec<Vec<GradAffine>> = if saved.batch_statistics {
        vec![Vec::new(); graph.norms.len()]
    } else {
        saved.statistics.iter().map(Statistics::constant_gradient).collect()
    };
    let pass = Backward {
        context: &context,
        features: &features,
        statistics: &saved.statistics,
        coefficients: &[],
        grad_output,
        image_grads: image_rows.as_ref(),
    };
    let last = graph.nodes.len() - 1;

    if !wanted.params && !saved.batch_statistics {
        let backward = Backward { coefficients: &coefficients, ..pass };
        tasks.par_iter().for_each(|task| {
            let mut scratch = Scratch::new(graph, arena, &plan);
            let mut storage = Storage::new(graph);
            for node in graph.nodes.iter().rev() {
                storage.prepare(graph, arena, node, plan.sub_rows);
            }
            for rows in plan.sub_batches(task) {
                let grads = storage.rows(graph, rows.start);
                for index in (0..=last).rev() {
                    // SAFETY: the rows are this task's.
                    unsafe { backward.node(index, rows.clone(), &grads, &[], None, &mut scratch) };
                }
            }
        });
    } else {
        let mut storage = Storage::new(graph);
        let mut sums: Vec<Buffer> =
            graph.norms.iter().map(|n| arena.zeros(2 * padded(n.channels) * plan.rows())).collect();
        for segment in plan::backward_segments(graph, saved.batch_statistics) {
            let nodes: Vec<usize> = segment.map(|step| last - step).collect();
            for &index in &nodes {
                storage.prepare(graph, arena, &graph.nodes[index], plan.rows());
            }
            let grads = storage.rows(graph, 0);
            let sum_rows: Vec<Rows<'_>> = sums
                .iter_mut()
                .zip(&graph.norms)
                .map(|(values, norm)| Rows::new(values, 2 * padded(norm.channels), 0))
                .collect();
            let backward = Backward { coefficients: &coefficients, ..pass };
            let weight_sums: Vec<WeightSums> = tasks
                .par_iter()
                .map(|task| {
                    let mut scratch = Scratch::new(graph, arena, &plan);
                    let mut weights =
                        if wanted.params { weight_sums(graph, arena, &nodes) } else { Vec::new() };
                    for rows in plan.sub_batches(task) {
                        for &index in &nodes {
                            let weight = weights.iter_mut().find(|(node, _)| *node == index);
                            let weight = weight.map(|(_, sums)| &mut **sums);
                            let rows = rows.clone();
                            // SAFETY: the rows are this task's.
                            unsafe { backward.node(index, rows, &grads, &sum_rows, weight, &mut scratch) };
                        }
                    }
                    weights
                })
                .collect();
            if wanted.params {
                measure(Kind::Weights, || {
                    reduce_weights(graph, &plan, params, &tasks, &weight_sums, &mut param_grads);
                });
            }
            for &index in &nodes {
                for norm in graph.nodes[index].norms() {
                    let grads = wanted.params.then_some(&mut param_grads[..]);
                    let gradient = measure(Kind::Statistics, || {
                        saved.statistics[norm].gradient(&graph.norms[norm], &plan, &sums[norm], grads)
                    });
                    if saved.batch_statistics {
                        coefficients[norm] = gradient;
                    }
                }
                storage.release(graph, &graph.nodes[index]);
            }
        }
    }
    Gradients {
        params: wanted.params.then_some(param_grads),
        images: wanted.images.then(|| sum_over_members(&plan, &image_storage, image_len)),
    }
}

/// Gradients of the images: the members' rows of each image added up in order.
fn sum_over_members(plan: &Plan, rows: &[f32], image_len: usize) -> Vec<f32> {
    let mut images = rows[..plan.images() * image_len].to_vec();
    for more in rows[images.len()..].chunks_exact(images.len().max(1)) {
        for (sum, value) in images.iter_mut().zip(more) {
            *sum += value;
        }
    }
    images
}
