//! One node's backward pass for a few rows.

use std::ops::Range;

use super::gradients::GradRows;
use super::graph::{Conv, FeatureId, Graph, Join, Node, NormId, Pool, Residual, Source};
use super::layout::{block, unblock};
use super::memory::{Arena, Buffer, Rows};
use super::node_forward::{Context, source_into};
use super::norm::Statistics;
use super::plan::Plan;
use super::weights::member_weights;
use crate::ops::cpu::pointwise::{self, GradAffine, SkipGrad};
use crate::ops::cpu::{BLOCK, padded};
use crate::profile::{Kind, measure};

/// Read by every task.
#[derive(Clone, Copy)]
pub(crate) struct Backward<'a> {
    pub context: &'a Context<'a>,
    pub features: &'a [Rows<'a>],
    pub statistics: &'a [Statistics],
    pub coefficients: &'a [Vec<GradAffine>],
    pub grad_output: &'a [f32],
    pub image_grads: Option<&'a Rows<'a>>,
}

/// A task's working memory.
pub(crate) struct Scratch {
    /// Bordered inputs of a sub-batch.
    inputs: Buffer,
    /// Bordered output gradients of a sub-batch.
    grads: Buffer,
    /// Gradients by input of a sub-batch, where they are not written in place.
    single: Buffer,
    /// What a convolution's sums need.
    tiles: Buffer,
}

impl Scratch {
    pub(crate) fn new(graph: &Graph, arena: &Arena, plan: &Plan) -> Self {
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
            single: arena.take(inputs * plan.sub_rows),
            tiles: arena.take(largest(|conv| conv.op.scratch_len())),
        }
    }
}

impl Backward<'_> {
    /// Runs one node's backward for the rows of a sub-batch.
    ///
    /// # Safety
    /// No other task may touch any of these rows, of any map or sum, meanwhile (see [`Rows`]).
    pub(crate) unsafe fn node(
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
        let (graph, level) = (self.context.graph, self.context.level);
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
                    Source::Feature(f) if border == 0 => {
                        // SAFETY: made by the forward pass, read only.
                        to.copy_from_slice(unsafe { self.features[f].get(row) })
                    }
                    _ => {
                        let (context, features) = (self.context, self.features);
                        // SAFETY: this task's row.
                        measure(Kind::Pointwise, || unsafe {
                            source_into(context, conv.source, border, row, features, self.statistics, to);
                        });
                    }
                }
            }
            let (packed, bias) = weight.split_at_mut(conv.op.packed_len(false));
            measure(Kind::GradWeight, || {
                conv.op.grad_weight(
                    level,
                    &scratch.inputs,
                    &scratch.grads,
                    rows.len(),
                    packed,
                    &mut scratch.tiles,
                );
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
        self.grad_input(index, conv, rows, grads, sums, scratch);
    }

    /// The gradients by input of a sub-batch, from its bordered output gradients in `scratch`.
    fn grad_input(
        &self,
        index: usize,
        conv: &Conv,
        rows: Range<usize>,
        grads: &GradRows<'_>,
        sums: &[Rows<'_>],
        scratch: &mut Scratch,
    ) {
        let (graph, plan, level) = (self.context.graph, &self.context.plan, self.context.level);
        let Scratch { grads: outs, single, tiles, .. } = scratch;
        let outs: Vec<&[f32]> =
            outs.chunks_exact(conv.op.shape.bordered_out_len()).take(rows.len()).collect();
        let weights = member_weights(self.context, index, conv, plan.member(rows.start));
        let mut write = |to: &mut [&mut [f32]]| {
            measure(Kind::GradInput, || conv.op.grad_input(level, &outs, weights, to, tiles));
        };
        match conv.source {
            Source::Image => {
                if let Some(images) = self.image_grads {
                    let mut blocked = parts(single, graph.image.len(), rows.len());
                    write(&mut blocked);
                    // SAFETY: this task's rows.
                    for (values, to) in blocked.iter().zip(unsafe { images.get_all_mut(rows) }) {
                        self.image_gradient(values, to);
                    }
                }
            }
            Source::Feature(f) => {
                let Some(raw) = &grads.raw[f] else { return };
                if self.first_raw_writer(f) == Some(index) {
                    // SAFETY: as above.
                    write(&mut unsafe { raw.get_all_mut(rows) });
                } else {
                    let mut more = parts(single, graph.features[f].len(), rows.len());
                    write(&mut more);
                    // SAFETY: as above.
                    for (to, values) in unsafe { raw.get_all_mut(rows) }.into_iter().zip(more) {
                        for (to, value) in to.iter_mut().zip(values) {
                            *to += *value;
                        }
                    }
                }
            }
            Source::Normed(f, norm) => {
                let Some(normed) = &grads.normed[f] else { return };
                // SAFETY: as above; the feature map was made by the forward pass and is read only.
                let mut grads = unsafe { normed.get_all_mut(rows.clone()) };
                write(&mut grads);
                for (row, normed) in rows.zip(grads) {
                    // SAFETY: as above.
                    let z = unsafe { self.features[f].get(row) };
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

/// The first `count` parts of `len` floats.
fn parts(values: &mut [f32], len: usize, count: usize) -> Vec<&mut [f32]> {
    values.chunks_exact_mut(len).take(count).collect()
}
