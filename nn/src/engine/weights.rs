//! Weights on their way into the kernels, and their gradients on the way out.
//!
//! A BatchEnsemble layer s_m * (W applied to (r_m * x)) is a convolution with the weights W o (s_m r_m^T) of each member,
//! so r and s cost no pass over the activations. From a member's gradient G by those weights follow all three: W gets
//! sum over m of s_o r_i G, s_o gets sum over i of W r_i G, r_i gets sum over o of W s_o G.

use std::ops::Range;

use rayon::prelude::*;

use super::graph::{Conv, Graph, Node};
use super::memory::{Arena, Buffer};
use super::node_forward::Context;
use super::plan::Plan;
use crate::ops::cpu::convolution::Weights;
use crate::ops::cpu::padded;

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
            let len = conv.op.packed_len(transposed);
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
        fast: fast_weights(conv, context.params, member),
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

/// Adds up the tasks' sums in order and turns each member's gradient G of its own weights W o (s r^T) into those of the
/// layer: W gets sum of s_o r_i G, s gets sum over i of W r_i G, r gets sum over o of W s_o G.
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
        let square = shape.kernel * shape.kernel;
        for member in 0..plan.members {
            let parts: Vec<&[f32]> = weight_sums
                .iter()
                .zip(tasks)
                .filter(|(_, task)| plan.member(task.start) == member)
                .map(|(sums, _)| &*sums[slot].1)
                .collect();
            let mut total = vec![0.0_f32; parts.first().map_or(0, |part| part.len())];
            total.par_chunks_mut(8192).enumerate().for_each(|(chunk, to)| {
                for part in &parts {
                    for (sum, value) in to.iter_mut().zip(&part[chunk * 8192..]) {
                        *sum += value;
                    }
                }
            });
            let (packed, bias_sums) = total.split_at(conv.op.packed_len(false));
            let weight_range = conv.weight..conv.weight + channels_out * channels_in * square;
            match fast_weights(conv, params, member) {
                None => {
                    let to = &mut grads[weight_range];
                    conv.op.unpack(packed, |o, i, k, value| to[(o * channels_in + i) * square + k] += value);
                }
                Some((s, r)) => {
                    let (mut grad_s, mut grad_r) = (vec![0.0_f64; channels_out], vec![0.0_f64; channels_in]);
                    let weight = &params[weight_range.clone()];
                    let to = &mut grads[weight_range];
                    conv.op.unpack(packed, |o, i, k, value| {
                        let at = (o * channels_in + i) * square + k;
                        to[at] += value * (s[o] * r[i]);
                        let product = f64::from(value) * f64::from(weight[at]);
                        grad_s[o] += product * f64::from(r[i]);
                        grad_r[i] += product * f64::from(s[o]);
                    });
                    if let Some((s_at, r_at)) = conv.fast {
                        add_to(&mut grads[s_at + member * channels_out..], &grad_s);
                        add_to(&mut grads[r_at + member * channels_in..], &grad_r);
                    }
                }
            }
            if let Some(bias) = conv.bias {
                let at = bias + graph.members.map_or(0, |_| member * channels_out);
                for (to, value) in grads[at..at + channels_out].iter_mut().zip(bias_sums) {
                    *to += value;
                }
            }
        }
    }
}

fn add_to(to: &mut [f32], values: &[f64]) {
    for (to, value) in to.iter_mut().zip(values) {
        *to += *value as f32;
    }
}
