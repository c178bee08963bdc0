//! Which network: family, depth, width, shortcut, image size, classes, members.

use crate::engine::graph::{Feature, Graph, Residual, Source};
use crate::error::{Error, Result};
use crate::precision::Precision;

/// Order of normalisation and convolution in a basic block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// He et al. 2016a: convolution, norm, ReLU; the ReLU after the sum; norm and ReLU after the first convolution.
    ResNet,
    /// Pre-activation, wide residual networks: norm, ReLU, convolution; bare first convolution; last norm and ReLU.
    PreResNet,
}

/// What a residual block adds where its input has another shape than its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// Every second pixel, missing channels zero (option A).
    Identity,
    /// A strided 1x1 convolution: of the block's input in a `PreResNet`, followed by a norm in a `ResNet`.
    Projection,
}

/// Everything that fixes a network's computation and its parameters' shapes.
#[derive(Clone, Debug, PartialEq)]
pub struct NetworkSpec {
    /// Post- or pre-activation blocks.
    pub family: Family,
    /// Shortcut where shapes differ.
    pub shortcut: Shortcut,
    /// Basic blocks in each stage; every stage after the first halves the image and doubles the channels.
    pub blocks: Vec<usize>,
    /// Channels of the first convolution.
    pub in_planes: usize,
    /// Factor on the channels of every stage.
    pub widen: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Height and width of an image.
    pub image: usize,
    /// Classes.
    pub classes: usize,
    /// Subnetworks of a BatchEnsemble; `None` for a plain network.
    pub members: Option<usize>,
    /// Per-channel mean of the pixels in [0, 1], subtracted inside the network.
    pub pixel_mean: Vec<f32>,
    /// Per-channel standard deviation, divided by inside the network.
    pub pixel_std: Vec<f32>,
    /// In which precision convolutions are computed and feature maps stored.
    pub precision: Precision,
}

/// Pixels a side of the largest image, and weights a side of the largest kernel: with these no length of an image's maps wraps.
pub(crate) const LARGEST_IMAGE: usize = 1 << 14;
/// See [`LARGEST_IMAGE`].
pub(crate) const LARGEST_KERNEL: usize = 1 << 8;
/// Channels, classes and members: likewise.
pub(crate) const MOST_CHANNELS: usize = 1 << 20;

/// Depths of the CIFAR ResNets that the protocol's experiments may name.
pub const RESNET_DEPTHS: [usize; 6] = [8, 14, 20, 32, 44, 56];

impl NetworkSpec {
    /// `resnet-{8,14,20,32,44,56}` or `wrn-<depth>-<widen>` (depth = 6 n + 4) for square three-channel images, plain,
    /// with pixel mean 0 and standard deviation 1.
    ///
    /// # Errors
    /// [`Error::Spec`] where the name is of neither form, or image or classes are zero.
    pub fn named(name: &str, image: usize, classes: usize) -> Result<Self> {
        let fail = |reason: String| Error::Spec { name: name.to_owned(), reason };
        if image == 0 || classes == 0 {
            return Err(fail(format!("image size {image} and {classes} classes must both be positive")));
        }
        let number = |text: &str| {
            let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
            let number = text.parse::<usize>().ok().filter(|n| canonical && (1..=4096).contains(n));
            let advice = "is not a number; write resnet-<depth> or wrn-<depth>-<widen>";
            number.ok_or_else(|| fail(format!("`{text}` {advice}")))
        };
        let parts: Vec<&str> = name.split('-').collect();
        let (family, shortcut, blocks, widen) = match parts.as_slice() {
            ["resnet", depth] => {
                let depth = number(depth)?;
                if !RESNET_DEPTHS.contains(&depth) {
                    return Err(fail(format!("the depth is one of {RESNET_DEPTHS:?}")));
                }
                (Family::ResNet, Shortcut::Identity, (depth - 2) / 6, 1)
            }
            ["wrn", depth, widen] => {
                let (depth, widen) = (number(depth)?, number(widen)?);
                if depth < 10 || depth % 6 != 4 || widen > 64 {
                    return Err(fail(
                        "the depth is 6 n + 4 (10, 16, 22, 28, ..), the factor 1 to 64".to_owned(),
                    ));
                }
                (Family::PreResNet, Shortcut::Projection, (depth - 4) / 6, widen)
            }
            _ => return Err(fail("write resnet-<depth> or wrn-<depth>-<widen>".to_owned())),
        };
        Ok(Self {
            family,
            shortcut,
            blocks: vec![blocks; 3],
            in_planes: 16,
            widen,
            channels: 3,
            image,
            classes,
            members: None,
            pixel_mean: vec![0.0; 3],
            pixel_std: vec![1.0; 3],
            precision: Precision::F32,
        })
    }

    /// The same network with images normalised by `mean` and `std`.
    #[must_use]
    pub fn normalized(mut self, mean: [f32; 3], std: [f32; 3]) -> Self {
        self.pixel_mean = mean.to_vec();
        self.pixel_std = std.to_vec();
        self
    }

    /// The same network computed in another precision (f32 unless said).
    #[must_use]
    pub fn in_precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }

    /// The same network as a BatchEnsemble of `members` subnetworks.
    #[must_use]
    pub fn batch_ensemble(mut self, members: usize) -> Self {
        self.members = Some(members);
        self
    }

    /// Multiply-adds of one image's forward pass through one subnetwork.
    ///
    /// # Errors
    /// [`Error::Spec`] as [`Network::new`](crate::Network::new).
    pub fn multiply_adds(&self) -> Result<u64> {
        Ok(self.graph()?.multiply_adds())
    }

    fn check(&self) -> Result<()> {
        let fail = |reason: &str| Err(Error::Spec { name: format!("{self:?}"), reason: reason.to_owned() });
        let sizes = [self.in_planes, self.widen, self.channels, self.image, self.classes];
        if sizes.contains(&0) || self.members == Some(0) {
            return fail(
                "planes, widening factor, channels, image size, classes and members must be positive",
            );
        }
        let most = [self.channels, self.classes, self.members.unwrap_or(1), self.blocks.len()];
        let widest = (self.in_planes as u128).checked_mul(self.widen as u128);
        let widest = widest.and_then(|planes| planes.checked_mul(1 << self.blocks.len().min(64)));
        if self.image > LARGEST_IMAGE
            || most.iter().any(|&size| size > MOST_CHANNELS)
            || widest.is_none_or(|widest| widest > MOST_CHANNELS as u128)
        {
            return fail(&format!(
                "an image has at most {LARGEST_IMAGE} pixels a side; channels, classes and members are at most {MOST_CHANNELS}"
            ));
        }
        if self.blocks.is_empty() || self.blocks.contains(&0) {
            return fail("every stage needs at least one block");
        }
        if self.pixel_mean.len() != self.channels || self.pixel_std.len() != self.channels {
            return fail("pixel mean and standard deviation need one value a channel");
        }
        if !self.pixel_std.iter().all(|std| *std > 0.0) {
            return fail("the pixels' standard deviation must be positive");
        }
        Ok(())
    }

    /// Builds the computation, with the official implementation's names: `backbone.layers.0` is the first convolution,
    /// then a number a block, then (pre-activation) the last norm; `classifier.fc`.
    pub(crate) fn graph(&self) -> Result<Graph> {
        self.check()?;
        let image = Feature { channels: self.channels, height: self.image, width: self.image };
        let mut graph = Graph::new(image, self.members, &self.pixel_mean, &self.pixel_std);
        let mut x = graph.conv("backbone.layers.0.conv1", Source::Image, self.in_planes, 3, 1, None);
        if self.family == Family::ResNet {
            let norm = graph.norm("backbone.layers.0.norm1", x);
            x = graph.join(x, norm, None);
        }
        let mut layer = 1;
        for (stage, &blocks) in self.blocks.iter().enumerate() {
            let channels = (self.in_planes * self.widen) << stage;
            for block in 0..blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("backbone.layers.{layer}");
                x = match self.family {
                    Family::ResNet => self.post_activation(&mut graph, &name, x, channels, stride),
                    Family::PreResNet => self.pre_activation(&mut graph, &name, x, channels, stride),
                };
                layer += 1;
            }
        }
        let features = match self.family {
            Family::ResNet => Source::Feature(x),
            Family::PreResNet => Source::Normed(x, graph.norm(&format!("backbone.layers.{layer}.norm1"), x)),
        };
        let pooled = graph.pool(features);
        graph.linear("classifier.fc", Source::Feature(pooled), self.classes);
        Ok(graph)
    }

    fn post_activation(
        &self,
        graph: &mut Graph,
        name: &str,
        x: usize,
        channels: usize,
        stride: usize,
    ) -> usize {
        let first = graph.conv(&format!("{name}.conv1"), Source::Feature(x), channels, 3, stride, None);
        let norm = graph.norm(&format!("{name}.norm1"), first);
        let second = graph.conv(&format!("{name}.conv2"), Source::Normed(first, norm), channels, 3, 1, None);
        let norm = graph.norm(&format!("{name}.norm2"), second);
        let same = stride == 1 && graph.features[x].channels == channels;
        let residual = if same || self.shortcut == Shortcut::Identity {
            Residual::Feature(x)
        } else {
            let name = format!("{name}.shortcut");
            let projected =
                graph.conv(&format!("{name}.conv"), Source::Feature(x), channels, 1, stride, None);
            Residual::Normed(projected, graph.norm(&format!("{name}.norm"), projected))
        };
        graph.join(second, norm, Some(residual))
    }

    fn pre_activation(
        &self,
        graph: &mut Graph,
        name: &str,
        x: usize,
        channels: usize,
        stride: usize,
    ) -> usize {
        let norm = graph.norm(&format!("{name}.norm1"), x);
        let same = stride == 1 && graph.features[x].channels == channels;
        let first = graph.conv(&format!("{name}.conv1"), Source::Normed(x, norm), channels, 3, stride, None);
        let norm = graph.norm(&format!("{name}.norm2"), first);
        let residual = if same || self.shortcut == Shortcut::Identity {
            x
        } else {
            graph.conv(&format!("{name}.shortcut.conv"), Source::Feature(x), channels, 1, stride, None)
        };
        let residual = Some(Residual::Feature(residual));
        graph.conv(&format!("{name}.conv2"), Source::Normed(first, norm), channels, 3, 1, residual)
    }
}
