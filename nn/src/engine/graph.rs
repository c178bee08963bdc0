//! The network as data: feature maps, norms, and the nodes that compute one feature map from others.

use crate::ops::cpu::convolution::Convolution;
use crate::ops::cpu::geometry::ConvShape;
use crate::ops::cpu::pointwise::Extent;
use crate::ops::cpu::{BLOCK, blocks};
use crate::params::{Entry, Group, Init, Layout};

/// Index of a feature map.
pub(crate) type FeatureId = usize;
/// Index of a norm.
pub(crate) type NormId = usize;

/// A feature map of one image: (channels, height, width), stored channel-blocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Feature {
    pub channels: usize,
    pub height: usize,
    pub width: usize,
}

impl Feature {
    /// Floats of one image.
    pub(crate) fn len(&self) -> usize {
        blocks(self.channels) * self.height * self.width * BLOCK
    }

    /// Values of one image, without those that fill up the last block of channels.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "for devices"))]
    pub(crate) fn values(&self) -> usize {
        self.channels * self.height * self.width
    }

    pub(crate) fn extent(&self, border: usize) -> Extent {
        Extent { blocks: blocks(self.channels), height: self.height, width: self.width, border }
    }
}

/// Batch norm of one feature map: offsets of gamma and beta among the parameters, of the running mean and variance
/// among the buffers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Norm {
    pub feature: FeatureId,
    pub channels: usize,
    pub gamma: usize,
    pub beta: usize,
    pub running_mean: usize,
    pub running_var: usize,
}

/// What a convolution or a pooling reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The network's input, normalised by the pixel mean and standard deviation.
    Image,
    Feature(FeatureId),
    /// relu(norm(feature)).
    Normed(FeatureId, NormId),
}

/// The other branch of a residual sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Residual {
    /// A feature map; every second pixel and zero channels where it is larger and thinner than the sum (option A).
    Feature(FeatureId),
    /// norm(feature), the projection shortcut of a post-activation block.
    Normed(FeatureId, NormId),
}

/// Convolution, or the classifier as a 1x1 convolution of pooled features.
pub(crate) struct Conv {
    pub source: Source,
    pub out: FeatureId,
    pub op: Convolution,
    /// Offset of the weight (O, I, k, k) among the parameters.
    pub weight: usize,
    /// Offsets of s (M, O) and r (M, I) of a BatchEnsemble layer.
    pub fast: Option<(usize, usize)>,
    /// Offset of the bias: (M, O) in a BatchEnsemble, (O) otherwise.
    pub bias: Option<usize>,
    /// Added to the output.
    pub residual: Option<Residual>,
}

/// relu(norm(feature) + residual): the end of a post-activation block.
pub(crate) struct Join {
    pub feature: FeatureId,
    pub norm: NormId,
    pub residual: Option<Residual>,
    pub out: FeatureId,
}

/// Mean over pixels.
pub(crate) struct Pool {
    pub source: Source,
    pub out: FeatureId,
}

/// One step of the computation.
pub(crate) enum Node {
    Conv(Box<Conv>),
    Join(Join),
    Pool(Pool),
}

impl Node {
    pub(crate) fn out(&self) -> FeatureId {
        match self {
            Node::Conv(conv) => conv.out,
            Node::Join(join) => join.out,
            Node::Pool(pool) => pool.out,
        }
    }

    /// The feature maps that the node reads.
    pub(crate) fn reads(&self) -> Vec<FeatureId> {
        let source = |source: &Source| match source {
            Source::Image => None,
            Source::Feature(f) | Source::Normed(f, _) => Some(*f),
        };
        let residual = |residual: &Option<Residual>| residual.map(|r| r.feature());
        match self {
            Node::Conv(conv) => source(&conv.source).into_iter().chain(residual(&conv.residual)).collect(),
            Node::Join(join) => std::iter::once(join.feature).chain(residual(&join.residual)).collect(),
            Node::Pool(pool) => source(&pool.source).into_iter().collect(),
        }
    }

    /// The norms that the node applies.
    pub(crate) fn norms(&self) -> Vec<NormId> {
        let source = |source: &Source| match source {
            Source::Normed(_, n) => Some(*n),
            _ => None,
        };
        let residual = |residual: &Option<Residual>| match residual {
            Some(Residual::Normed(_, n)) => Some(*n),
            _ => None,
        };
        match self {
            Node::Conv(conv) => source(&conv.source).into_iter().chain(residual(&conv.residual)).collect(),
            Node::Join(join) => std::iter::once(join.norm).chain(residual(&join.residual)).collect(),
            Node::Pool(pool) => source(&pool.source).into_iter().collect(),
        }
    }
}

impl Residual {
    pub(crate) fn feature(&self) -> FeatureId {
        match self {
            Residual::Feature(f) | Residual::Normed(f, _) => *f,
        }
    }
}

/// A network of `members` subnetworks (1 where plain) over images of `image`'s shape.
pub(crate) struct Graph {
    pub image: Feature,
    pub pixel_mean: Vec<f32>,
    pub pixel_std: Vec<f32>,
    /// Subnetworks; `None` for a plain network, which has no fast weights.
    pub members: Option<usize>,
    /// Whether row (m, b) reads image m * B + b instead of image b: only layers on their own take tiled inputs.
    pub tiled_images: bool,
    pub features: Vec<Feature>,
    pub norms: Vec<Norm>,
    pub nodes: Vec<Node>,
    pub layout: Layout,
}

impl Graph {
    /// An empty graph over images (C, H, W).
    pub(crate) fn new(image: Feature, members: Option<usize>, pixel_mean: &[f32], pixel_std: &[f32]) -> Self {
        Self {
            image,
            pixel_mean: pixel_mean.to_vec(),
            pixel_std: pixel_std.to_vec(),
            members,
            tiled_images: false,
            features: Vec::new(),
            norms: Vec::new(),
            nodes: Vec::new(),
            layout: Layout::default(),
        }
    }

    pub(crate) fn member_count(&self) -> usize {
        self.members.unwrap_or(1)
    }

    fn shape_of(&self, source: Source) -> Feature {
        match source {
            Source::Image => self.image,
            Source::Feature(f) | Source::Normed(f, _) => self.features[f],
        }
    }

    /// Appends a convolution without bias named `name` and returns its output.
    pub(crate) fn conv(
        &mut self,
        name: &str,
        source: Source,
        channels: usize,
        kernel: usize,
        stride: usize,
        residual: Option<Residual>,
    ) -> FeatureId {
        self.convolution(name, source, (channels, kernel, stride), residual, false)
    }

    /// Appends the classifier: logits of pooled features, with a bias (one a member in a BatchEnsemble).
    pub(crate) fn linear(&mut self, name: &str, source: Source, classes: usize) -> FeatureId {
        self.convolution(name, source, (classes, 1, 1), None, true)
    }

    fn convolution(
        &mut self,
        name: &str,
        source: Source,
        (channels, kernel, stride): (usize, usize, usize),
        residual: Option<Residual>,
        linear: bool,
    ) -> FeatureId {
        let input = self.shape_of(source);
        let shape = ConvShape {
            channels_in: input.channels,
            channels_out: channels,
            kernel,
            stride,
            height: input.height,
            width: input.width,
        };
        let (i, o) = (input.channels, channels);
        let dims = if linear { vec![o, i] } else { vec![o, i, kernel, kernel] };
        let fan_out = o * kernel * kernel;
        let mut add = |suffix: &str, shape: Vec<usize>, group, init| {
            self.layout.add(Entry::new(format!("{name}.{suffix}"), shape, group, init))
        };
        let weight =
            add("weight", dims, Group::Slow, Init::Normal { mean: 0.0, std: (2.0 / fan_out as f32).sqrt() });
        let fast = self.members.map(|m| {
            let init = Init::Normal { mean: 1.0, std: 0.5 };
            let r = add("alpha_be", vec![m, i], Group::Fast, init);
            let s = add("gamma_be", vec![m, o], Group::Fast, init);
            (s, r)
        });
        let bias = linear.then(|| match self.members {
            Some(m) => add("ensemble_bias", vec![m, o], Group::Slow, Init::Constant(0.0)),
            None => add("bias", vec![o], Group::Slow, Init::Uniform { bound: 1.0 / (i as f32).sqrt() }),
        });
        let out = self.feature(Feature { channels, height: shape.out_height(), width: shape.out_width() });
        let op = Convolution::new(shape);
        self.nodes.push(Node::Conv(Box::new(Conv { source, out, op, weight, fast, bias, residual })));
        out
    }

    /// Registers the batch norm `name` of a feature map.
    pub(crate) fn norm(&mut self, name: &str, feature: FeatureId) -> NormId {
        let channels = self.features[feature].channels;
        let mut add = |suffix: &str, group, value| {
            self.layout.add(Entry::new(
                format!("{name}.{suffix}"),
                vec![channels],
                group,
                Init::Constant(value),
            ))
        };
        let norm = Norm {
            feature,
            channels,
            gamma: add("weight", Group::Slow, 1.0),
            beta: add("bias", Group::Slow, 0.0),
            running_mean: add("running_mean", Group::Buffer, 0.0),
            running_var: add("running_var", Group::Buffer, 1.0),
        };
        self.norms.push(norm);
        self.norms.len() - 1
    }

    /// Appends relu(norm(feature) + residual).
    pub(crate) fn join(&mut self, feature: FeatureId, norm: NormId, residual: Option<Residual>) -> FeatureId {
        let out = self.feature(self.features[feature]);
        self.nodes.push(Node::Join(Join { feature, norm, residual, out }));
        out
    }

    /// Appends global average pooling.
    pub(crate) fn pool(&mut self, source: Source) -> FeatureId {
        let shape = self.shape_of(source);
        let out = self.feature(Feature { height: 1, width: 1, ..shape });
        self.nodes.push(Node::Pool(Pool { source, out }));
        out
    }

    fn feature(&mut self, feature: Feature) -> FeatureId {
        self.features.push(feature);
        self.features.len() - 1
    }

    /// Stride of the skip from one feature map into another: 1 where they have the same extent.
    pub(crate) fn skip_stride(&self, from: FeatureId, to: FeatureId) -> usize {
        if self.features[from].height == self.features[to].height { 1 } else { 2 }
    }

    /// The feature map that the last node makes.
    pub(crate) fn output(&self) -> FeatureId {
        self.nodes.last().map_or(0, Node::out)
    }

    /// Images that a pass over `batch` images is given: a graph with tiled images has them for each member.
    #[cfg_attr(not(any(feature = "cuda", test)), expect(dead_code, reason = "for devices"))]
    pub(crate) fn image_rows(&self, batch: usize) -> usize {
        if self.tiled_images { self.member_count() * batch } else { batch }
    }

    /// Multiply-adds of the forward pass of one image through one member.
    pub(crate) fn multiply_adds(&self) -> u64 {
        self.nodes
            .iter()
            .map(|node| match node {
                Node::Conv(conv) => conv.op.shape.multiply_adds(),
                _ => 0,
            })
            .sum()
    }
}
