//! Weights on their way into the kernels, and their gradients on the way out.
//!
//! A BatchEnsemble layer s_m * (W applied to (r_m * x)) is a convolution with the weights W o (s_m r_m^T) of each member,
//! so r and s cost no pass over the activations, and from a member's gradient by those weights follow the gradients of all
//! three ([`fold`](crate::ops::cpu::fold)).

use std::ops::Range;

use rayon::prelude::*;

use super::graph::{Conv, Graph, Node};
use super::memory::{Arena, Buffer};
use super::node_forward::Context;
use super::plan::Plan;
use crate::ops::cpu::convolution::{Fast, Weights};
use crate::ops::cpu::fold::{FastGradients, Fold};
use crate::ops::cpu::simd::Level;
use crate::ops::cpu::{BLOCK, padded};

/// Every convolution's weights, times s r^T for each member, in the forward or the transposed order.
pub(crate) fn pack_weights(
    graph: &Graph,
    arena: &Arena,
    params: &[f32],
    transposed: bool,
) -> Vec<Option<Buffer>> {
    let (members, level) = (graph.member_count(), Level::detect());
    graph
        .nodes
        .par_iter()
        .map(|node| {
            let Node::Conv(conv) = node else { return None };
            let len = conv.op.packed_len(transposed);
            let mut packed = arena.take(len * members);
            let (weight, fast) = (&params[conv.weight..], fast_weights(conv, params, 0..members));
            if transposed {
                conv.op.pack_transposed(level, weight, fast, &mut packed);
            } else {
                conv.op.pack_forward(level, weight, fast, &mut packed);
            }
            Some(packed)
        })
        .collect()
}

/// s and r of some members.
fn fast_weights<'a>(conv: &Conv, params: &'a [f32], members: Range<usize>) -> Fast<'a> {
    let of =
        |at: usize, channels: usize| &params[at + members.start * channels..][..members.len() * channels];
    conv.fast.map(|(s, r)| (of(s, conv.op.shape.channels_out), of(r, conv.op.shape.channels_in)))
}

/// The weights of the convolution `conv`, which is node `index`, for one member.
pub(crate) fn member_weights<'a>(
    context: &Context<'a>,
    index: usize,
    conv: &Conv,
    member: usize,
) -> Weights<'a> {
    let all = context.packed[index].as_deref().unwrap_or_default();
    let len = all.len() / context.plan.members;
    Weights {
        packed: &all[member * len..(member + 1) * len],
        plain: &context.params[conv.weight..],
        fast: fast_weights(conv, context.params, member..member + 1),
    }
}

/// One task's sums of weight gradients in the packed order, then of the bias, for each convolution of a segment.
pub(crate) type WeightSums = Vec<(usize, Buffer)>;

pub(crate) fn weight_sums(graph: &Graph, arena: &Arena, nodes: &[usize]) -> WeightSums {
    nodes
        .iter()
        .filter_map(|&index| match &graph.nodes[index] {
            Node::Conv(conv) => {
                Some((index, arena.zeros(conv.op.packed_len(false) + padded(conv.op.shape.channels_out))))
            }
            _ => None,
        })
        .collect()
}

/// Adds up the tasks' sums in order and folds each member's gradient of its own weights into those of the layer, block by
/// block of outputs.
pub(crate) fn reduce_weights(
    graph: &Graph,
    plan: &Plan,
    params: &[f32],
    tasks: &[Range<usize>],
    weight_sums: &[WeightSums],
    grads: &mut [f32],
) {
    let Some(first) = weight_sums.first() else { return };
    for (slot, (index, _)) in first.iter().enumerate() {
        let Node::Conv(conv) = &graph.nodes[*index] else { continue };
        let shape = &conv.op.shape;
        let (channels_in, channels_out) = (shape.channels_in, shape.channels_out);
        let row = channels_in * shape.kernel * shape.kernel;
        let mut sums: Vec<Vec<&[f32]>> = vec![Vec::new(); plan.members];
        for (task, of_task) in tasks.iter().zip(weight_sums) {
            sums[plan.member(task.start)].push(&of_task[slot].1);
        }
        let weights = conv.weight..conv.weight + channels_out * row;
        let fold = Fold {
            convolution: &conv.op,
            sums: &sums,
            weight: &params[weights.clone()],
            fast: fast_weights(conv, params, 0..plan.members),
        };
        let level = Level::detect();
        let outputs = grads[weights].par_chunks_mut(BLOCK * row).enumerate();
        let blocks: Vec<FastGradients> = outputs.map(|(block, to)| fold.block(level, block, to)).collect();
        if let Some((s, r)) = conv.fast {
            for member in 0..plan.members {
                let of_s = blocks.iter().flat_map(|block| &block.s[member]);
                add_to(&mut grads[s + member * channels_out..][..channels_out], of_s.copied());
            }
            let of_r = (0..plan.members * channels_in).map(|at| blocks.iter().map(|block| block.r[at]).sum());
            add_to(&mut grads[r..], of_r);
        }
        if let Some(bias) = conv.bias {
            for (member, sums) in sums.iter().enumerate() {
                let at = bias + graph.members.map_or(0, |_| member * channels_out);
                let of =
                    |o: usize| sums.iter().fold(0.0, |sum, part| sum + part[conv.op.packed_len(false) + o]);
                grads[at..at + channels_out].iter_mut().enumerate().for_each(|(o, to)| *to += of(o));
            }
        }
    }
}

fn add_to(to: &mut [f32], values: impl Iterator<Item = f64>) {
    for (to, value) in to.iter_mut().zip(values) {
        *to += value as f32;
    }
}
