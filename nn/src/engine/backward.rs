//! The backward pass.
//!
//! A feature map's gradient has up to two parts, both one value an element: `normed`, which arrives behind its norm
//! (and ReLU), and `raw`, which arrives directly. The gradient by the map itself is the norm's gradient of the first
//! plus the second; it is worked out where a node needs it and stored only where a skip hands it on.

use std::ops::Range;

use rayon::prelude::*;

use super::forward::{
    Context, Saved, block, fast_weights, member_weights, pack_weights, rows_of, source_into, unblock,
};
use super::graph::{Conv, FeatureId, Graph, Join, Node, NormId, Pool, Residual, Source};
use super::memory::{Arena, Buffer, Rows};
use super::norm::Statistics;
use super::plan::{self, Plan};
use crate::ops::cpu::pointwise::{self, GradAffine, SkipGrad};
use crate::ops::cpu::simd::Level;
use crate::ops::cpu::{BLOCK, padded};
use crate::profile::{Kind, measure};

/// Which gradients are asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub params: bool,
    pub images: bool,
}

/// What came out: gradients of the flat parameters and of the images, where asked for.
pub(crate) struct Gradients {
    pub params: Option<Vec<f32>>,
    pub images: Option<Vec<f32>>,
}

/// Gradient buffers of a set of rows: those of a whole pass, or those of one task's sub-batch.
#[derive(Default)]
struct Storage {
    normed: Vec<Option<Buffer>>,
    raw: Vec<Option<Buffer>>,
}

/// The same as rows.
struct GradRows<'a> {
    normed: Vec<Option<Rows<'a>>>,
    raw: Vec<Option<Rows<'a>>>,
}

impl Storage {
    fn new(graph: &Graph) -> Self {
        let empty = || graph.features.iter().map(|_| None).collect();
        Self { normed: empty(), raw: empty() }
    }

    fn rows<'a>(&'a mut self, graph: &Graph, first_row: usize) -> GradRows<'a> {
        let view = |all: &'a mut [Option<Buffer>]| -> Vec<Option<Rows<'a>>> {
            all.iter_mut()
                .zip(&graph.features)
                .map(|(values, f)| values.as_mut().map(|v| Rows::new(v, f.len(), first_row)))
                .collect()
        };
        GradRows { normed: view(&mut self.normed), raw: view(&mut self.raw) }
    }

    /// Makes the buffers that the backward of `node` writes.
    fn prepare(&mut self, graph: &Graph, arena: &Arena, node: &Node, rows: usize) {
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
    fn release(&mut self, graph: &Graph, node: &Node) {
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
    fn normed(&self, graph: &Graph, feature: FeatureId) -> Option<&Rows<'a>> {
        match graph.join_of(feature) {
            Some(join) => self.raw[join.out].as_ref(),
            None => self.normed[feature].as_ref(),
        }
    }
}

impl Graph {
    /// The join whose main branch is this feature map.
    fn join_of(&self, feature: FeatureId) -> Option<&Join> {
        self.joins().find(|join| join.feature == feature)
    }

    /// The join whose residual is this feature map.
    fn skip_user(&self, feature: FeatureId) -> Option<&Join> {
        self.joins().find(|join| join.residual == Some(Residual::Feature(feature)))
    }

    fn joins(&self) -> impl Iterator<Item = &Join> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Join(join) => Some(join),
            _ => None,
        })
    }

    /// The norm through which a feature map is read.
    fn norm_of(&self, feature: FeatureId) -> Option<NormId> {
        self.norms.iter().position(|norm| norm.feature == feature)
    }
}

/// One task's sums of weight gradients in the packed order, then of the bias, for each convolution of a segment.
type WeightSums = Vec<(usize, Buffer)>;

/// Read by every task.
#[derive(Clone, Copy)]
struct Backward<'a> {
    context: &'a Context<'a>,
    features: &'a [Rows<'a>],
    statistics: &'a [Statistics],
    coefficients: &'a [Vec<GradAffine>],
    grad_output: &'a [f32],
    image_grads: Option<&'a Rows<'a>>,
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
                    backward.node(index, rows.clone(), &grads, &[], None, &mut scratch);
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
                            backward.node(index, rows.clone(), &grads, &sum_rows, weight, &mut scratch);
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

fn weight_sums(graph: &Graph, arena: &Arena, nodes: &[usize]) -> WeightSums {
    nodes
        .iter()
        .filter_map(|&index| match &graph.nodes[index] {
            Node::Conv(conv) => {
                Some((index, arena.zeros(conv.op.shape.packed_len() + padded(conv.op.shape.channels_out))))
            }
            _ => None,
        })
        .collect()
}

/// Adds up the tasks' sums in order and turns each member's gradient G of its own weights W o (s r^T) into those of the
/// layer: W gets sum of s_o r_i G, s gets sum over i of W r_i G, r gets sum over o of W s_o G.
fn reduce_weights(
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
            let (packed, bias_sums) = total.split_at(shape.packed_len());
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

/// A task's working memory.
struct Scratch {
    /// Bordered inputs of a sub-batch.
    inputs: Buffer,
    /// Bordered output gradients of a sub-batch.
    grads: Buffer,
    /// One gradient by input.
    single: Buffer,
}

impl Scratch {
    fn new(graph: &Graph, arena: &Arena, plan: &Plan) -> Self {
        let largest = |len: fn(&Conv) -> usize| {
            let convs = graph.nodes.iter().filter_map(|node| match node {
                Node::Conv(conv) => Some(len(conv)),
                _ => None,
            });
            convs.max().unwrap_or(0)
        };
        let inputs = largest(|conv| conv.op.shape.bordered_in_len());
        Self {
            inputs: arena.take(inputs * plan.sub_rows),
            grads: arena.take(largest(|conv| conv.op.shape.bordered_out_len()) * plan.sub_rows),
            single: arena.take(inputs),
        }
    }
}

impl Backward<'_> {
    /// Runs one node's backward for the rows of a sub-batch.
    fn node(
        &self,
        index: usize,
        rows: Range<usize>,
        grads: &GradRows<'_>,
        sums: &[Rows<'_>],
        weight: Option<&mut [f32]>,
        scratch: &mut Scratch,
    ) {
        match &self.context.graph.nodes[index] {
            Node::Conv(conv) => self.conv(index, conv, rows, grads, sums, weight, scratch),
            Node::Join(join) => rows.for_each(|row| self.join(join, row, grads, sums)),
            Node::Pool(pool) => rows.for_each(|row| self.pool(pool, row, grads, sums)),
        }
    }

    /// The row's sums of a norm, where they are wanted.
    #[allow(clippy::mut_from_ref)]
    fn sums_of<'r>(
        &self,
        sums: &'r [Rows<'_>],
        norm: NormId,
        row: usize,
    ) -> Option<(&'r mut [f32], &'r mut [f32])> {
        let lanes = padded(self.context.graph.norms[norm].channels);
        // SAFETY: this task's row.
        sums.get(norm).map(|rows| unsafe { rows.get_mut(row) }.split_at_mut(lanes))
    }

    /// The gradient of a feature map for one row, bordered, into `to`.
    fn gradient_into(
        &self,
        feature: FeatureId,
        row: usize,
        grads: &GradRows<'_>,
        border: usize,
        to: &mut [f32],
    ) {
        let graph = self.context.graph;
        let shape = graph.features[feature];
        let extent = shape.extent(border);
        if feature == graph.output() {
            let pixels = shape.height * shape.width;
            let values = &self.grad_output[row * shape.channels * pixels..][..shape.channels * pixels];
            if border == 0 {
                block(values, to, shape.channels, pixels);
            } else {
                let mut blocked = vec![0.0; shape.len()];
                block(values, &mut blocked, shape.channels, pixels);
                // SAFETY: the slices hold the feature map.
                unsafe { pointwise::copy(self.context.level, &blocked, to, &extent) }
            }
            return;
        }
        let group = self.context.plan.group(row);
        // SAFETY: this task's row; the nodes that wrote these gradients ran before.
        unsafe {
            let normed = grads.normed(graph, feature).and_then(|values| {
                let norm = graph.norm_of(feature)?;
                Some((values.get(row), self.features[feature].get(row), &self.coefficients[norm][group]))
            });
            let raw = grads.raw[feature].as_ref().map(|values| values.get(row));
            pointwise::grad_into(self.context.level, normed, raw, to, &extent);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn conv(
        &self,
        index: usize,
        conv: &Conv,
        rows: Range<usize>,
        grads: &GradRows<'_>,
        sums: &[Rows<'_>],
        weight: Option<&mut [f32]>,
        scratch: &mut Scratch,
    ) {
        let (graph, plan, level) = (self.context.graph, &self.context.plan, self.context.level);
        let shape = &conv.op.shape;
        let border = shape.pad();
        let (in_len, out_len) = (shape.bordered_in_len(), shape.bordered_out_len());
        let out_pixels = shape.out_height() * shape.out_width();
        for (n, row) in rows.clone().enumerate() {
            let to = &mut scratch.grads[n * out_len..(n + 1) * out_len];
            measure(Kind::Pointwise, || self.gradient_into(conv.out, row, grads, border, to));
            if let Some(Residual::Feature(f)) = conv.residual
                && let Some(raw) = &grads.raw[f]
            {
                // SAFETY: this task's row.
                let raw = unsafe { raw.get_mut(row) };
                if graph.skip_stride(f, conv.out) == 1 && graph.features[f] == graph.features[conv.out] {
                    self.gradient_into(conv.out, row, grads, 0, raw);
                } else {
                    let single = &mut scratch.single[..graph.features[conv.out].len()];
                    self.gradient_into(conv.out, row, grads, 0, single);
                    let out = graph.features[conv.out];
                    let skip = SkipGrad {
                        values: single,
                        stride: graph.skip_stride(f, conv.out),
                        height: out.height,
                        width: out.width,
                    };
                    // SAFETY: the slices hold the two feature maps.
                    unsafe { pointwise::spread(level, skip, raw, &graph.features[f].extent(0)) }
                }
            }
        }
        if let Some(weight) = weight {
            for (n, row) in rows.clone().enumerate() {
                let to = &mut scratch.inputs[n * in_len..(n + 1) * in_len];
                match conv.source {
                    // SAFETY: made by the forward pass, read only.
                    Source::Feature(f) if border == 0 => {
                        to.copy_from_slice(unsafe { self.features[f].get(row) })
                    }
                    _ => {
                        measure(Kind::Pointwise, || {
                            source_into(
                                self.context,
                                conv.source,
                                border,
                                row,
                                self.features,
                                self.statistics,
                                to,
                            );
                        });
                    }
                }
            }
            let (packed, bias) = weight.split_at_mut(shape.packed_len());
            measure(Kind::GradWeight, || {
                conv.op.grad_weight(level, &scratch.inputs, &scratch.grads, rows.len(), packed);
            });
            if conv.bias.is_some() {
                for n in 0..rows.len() {
                    let grad = &scratch.grads[n * out_len..(n + 1) * out_len];
                    for (block, to) in grad.chunks_exact(out_pixels * BLOCK).zip(bias.chunks_exact_mut(BLOCK))
                    {
                        for pixel in block.chunks_exact(BLOCK) {
                            for (to, value) in to.iter_mut().zip(pixel) {
                                *to += value;
                            }
                        }
                    }
                }
            }
        }
        for (n, row) in rows.enumerate() {
            let grad_out = &scratch.grads[n * out_len..(n + 1) * out_len];
            let packed = member_weights(self.context.packed, index, plan, plan.member(row));
            match conv.source {
                Source::Image => {
                    if let Some(images) = self.image_grads {
                        let len = graph.image.len();
                        measure(Kind::GradInput, || {
                            conv.op.grad_input(level, grad_out, packed, &mut scratch.single[..len]);
                        });
                        // SAFETY: this task's row.
                        self.image_gradient(&scratch.single[..len], unsafe { images.get_mut(row) });
                    }
                }
                Source::Feature(f) => {
                    let Some(raw) = &grads.raw[f] else { continue };
                    // SAFETY: this task's row.
                    let raw = unsafe { raw.get_mut(row) };
                    if self.first_raw_writer(f) == Some(index) {
                        measure(Kind::GradInput, || conv.op.grad_input(level, grad_out, packed, raw));
                    } else {
                        let single = &mut scratch.single[..graph.features[f].len()];
                        measure(Kind::GradInput, || conv.op.grad_input(level, grad_out, packed, single));
                        for (to, value) in raw.iter_mut().zip(single.iter()) {
                            *to += value;
                        }
                    }
                }
                Source::Normed(f, norm) => {
                    let Some(normed) = &grads.normed[f] else { continue };
                    // SAFETY: this task's row.
                    let (normed, z) = unsafe { (normed.get_mut(row), self.features[f].get(row)) };
                    measure(Kind::GradInput, || conv.op.grad_input(level, grad_out, packed, normed));
                    let affine = &self.statistics[norm].affine[plan.group(row)];
                    let sums = self.sums_of(sums, norm, row);
                    // SAFETY: the slices hold the feature map and its channels.
                    measure(Kind::Pointwise, || unsafe {
                        pointwise::relu_grad(level, normed, z, affine, sums, &graph.features[f].extent(0));
                    });
                }
            }
        }
    }

    /// The node that writes a feature map's raw gradient first; the others add to it.
    fn first_raw_writer(&self, feature: FeatureId) -> Option<usize> {
        self.context.graph.nodes.iter().rposition(|node| match node {
            Node::Conv(conv) => {
                conv.source == Source::Feature(feature) || conv.residual == Some(Residual::Feature(feature))
            }
            Node::Pool(pool) => pool.source == Source::Feature(feature),
            Node::Join(_) => false,
        })
    }

    /// (C, H, W) from the blocked gradient by the normalised image: the normalisation divides by std.
    fn image_gradient(&self, blocked: &[f32], to: &mut [f32]) {
        let image = self.context.graph.image;
        let pixels = image.height * image.width;
        unblock(blocked, to, image.channels, pixels);
        for (values, std) in to.chunks_exact_mut(pixels).zip(&self.context.graph.pixel_std) {
            for value in values {
                *value /= std;
            }
        }
    }

    fn join(&self, join: &Join, row: usize, grads: &GradRows<'_>, sums: &[Rows<'_>]) {
        let (graph, level) = (self.context.graph, self.context.level);
        let extent = graph.features[join.out].extent(0);
        let group = self.context.plan.group(row);
        let Some(grad) = &grads.raw[join.out] else { return };
        let skip = graph.skip_user(join.out).and_then(|next| {
            let shape = graph.features[next.feature];
            let values = grads.raw[next.out].as_ref()?;
            Some(SkipGrad {
                // SAFETY: this task's row; the next join's backward ran before.
                values: unsafe { values.get(row) },
                stride: graph.skip_stride(join.out, next.out),
                height: shape.height,
                width: shape.width,
            })
        });
        let affine = &self.statistics[join.norm].affine[group];
        // SAFETY: this task's row; all slices hold maps of the same extent.
        unsafe {
            let grad = grad.get_mut(row);
            let (out, z) = (self.features[join.out].get(row), self.features[join.feature].get(row));
            let sums_of = self.sums_of(sums, join.norm, row);
            measure(Kind::Pointwise, || {
                pointwise::join_grad(level, grad, skip, out, z, affine, sums_of, &extent);
            });
            if let Some(Residual::Normed(f, norm)) = join.residual
                && let Some(other) = &grads.normed[f]
            {
                let other = other.get_mut(row);
                other.copy_from_slice(grad);
                let affine = &self.statistics[norm].affine[group];
                let sums = self.sums_of(sums, norm, row);
                pointwise::grad_sums(level, other, self.features[f].get(row), affine, sums, &extent);
            }
        }
    }

    fn pool(&self, pool: &Pool, row: usize, grads: &GradRows<'_>, sums: &[Rows<'_>]) {
        let (graph, level) = (self.context.graph, self.context.level);
        let mut pooled = vec![0.0; graph.features[pool.out].len()];
        self.gradient_into(pool.out, row, grads, 0, &mut pooled);
        let (feature, target) = match pool.source {
            Source::Image => return,
            Source::Feature(f) => (f, &grads.raw[f]),
            Source::Normed(f, _) => (f, &grads.normed[f]),
        };
        let Some(target) = target else { return };
        // SAFETY: this task's row.
        let to = unsafe { target.get_mut(row) };
        let shape = graph.features[feature];
        let pixels = shape.height * shape.width;
        for (block, pooled) in to.chunks_exact_mut(pixels * BLOCK).zip(pooled.chunks_exact(BLOCK)) {
            for pixel in block.chunks_exact_mut(BLOCK) {
                for (to, value) in pixel.iter_mut().zip(pooled) {
                    *to = value / pixels as f32;
                }
            }
        }
        if let Source::Normed(f, norm) = pool.source {
            let affine = &self.statistics[norm].affine[self.context.plan.group(row)];
            // SAFETY: this task's row; the slices hold the feature map and its channels.
            unsafe {
                let z = self.features[f].get(row);
                pointwise::relu_grad(level, to, z, affine, self.sums_of(sums, norm, row), &shape.extent(0));
            }
        }
    }
}
