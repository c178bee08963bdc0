//! Single layers as networks of their own: what an operator's test and benchmark call.

use candle_core::Device;

use crate::engine::graph::{Feature, Graph, Source};
use crate::error::{Error, Result};
use crate::network::Network;
use crate::precision::Precision;
use crate::spec::{Family, LARGEST_IMAGE, LARGEST_KERNEL, MOST_CHANNELS, NetworkSpec, Shortcut};

/// One convolution or classifier, plain or BatchEnsemble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSpec {
    /// Input channels.
    pub channels_in: usize,
    /// Output channels.
    pub channels_out: usize,
    /// Kernel size, odd; the padding is half of it. 1 for a classifier.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
    /// Height and width of the input; 1 for a classifier.
    pub image: usize,
    /// Subnetworks; their inputs come tiled, member-major: (M * B, C, H, W).
    pub members: Option<usize>,
    /// Whether the layer is a classifier, which has a bias and a two-dimensional weight.
    pub linear: bool,
}

impl LayerSpec {
    /// The layer with parameters named `weight`, `alpha_be` (r), `gamma_be` (s), and `bias` or `ensemble_bias`, each
    /// after `layer.`. Its output is (M * B, C', H', W'), and (M, B, C') where
    /// that is a single pixel, as for a classifier.
    ///
    /// # Errors
    /// [`Error::Spec`] where a size is zero, the kernel even or the stride neither 1 nor 2.
    pub fn build(&self, seed: u64, device: &Device) -> Result<Network> {
        self.build_in(seed, Precision::F32, device)
    }

    /// The same in another precision.
    ///
    /// # Errors
    /// As [`LayerSpec::build`], and where the device does not compute in it.
    pub fn build_in(&self, seed: u64, precision: Precision, device: &Device) -> Result<Network> {
        let graph = self.graph()?;
        let (pixel_mean, pixel_std) = (graph.pixel_mean.clone(), graph.pixel_std.clone());
        let spec = NetworkSpec {
            family: Family::PreResNet,
            shortcut: Shortcut::Identity,
            blocks: Vec::new(),
            in_planes: self.channels_out,
            widen: 1,
            channels: self.channels_in,
            image: self.image,
            classes: self.channels_out,
            members: self.members,
            pixel_mean,
            pixel_std,
            precision,
        };
        Network::of_graph(spec, graph, seed, device)
    }

    /// The layer as a graph.
    pub(crate) fn graph(&self) -> Result<Graph> {
        let sizes = [self.channels_in, self.channels_out, self.image, self.members.unwrap_or(1)];
        if sizes.contains(&0) || self.kernel.is_multiple_of(2) || !(1..=2).contains(&self.stride) {
            return Err(Error::Spec {
                name: format!("{self:?}"),
                reason: "sizes must be positive, the kernel odd, the stride 1 or 2".to_owned(),
            });
        }
        if self.image > LARGEST_IMAGE
            || self.kernel > LARGEST_KERNEL
            || sizes.iter().any(|&size| size > MOST_CHANNELS)
        {
            return Err(Error::Spec {
                name: format!("{self:?}"),
                reason: format!(
                    "an image has at most {LARGEST_IMAGE} pixels a side, a kernel {LARGEST_KERNEL}; channels and members are at \
                     most {MOST_CHANNELS}"
                ),
            });
        }
        let image = Feature { channels: self.channels_in, height: self.image, width: self.image };
        let (mean, std) = (vec![0.0; self.channels_in], vec![1.0; self.channels_in]);
        let mut graph = Graph::new(image, self.members, &mean, &std);
        graph.tiled_images = true;
        if self.linear {
            graph.linear("layer", Source::Image, self.channels_out);
        } else {
            graph.conv("layer", Source::Image, self.channels_out, self.kernel, self.stride, None);
        }
        Ok(graph)
    }
}
