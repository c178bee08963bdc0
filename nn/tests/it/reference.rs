//! The networks' forward pass written down plainly, in f64, one layer after the other on whole arrays.

use std::collections::BTreeMap;

use nn::{Family, Mode, Network, NetworkSpec, Shortcut};

use crate::naive::{self, Shape};
use crate::small::wide;

/// Feature maps (rows, channels, size, size); row m * B + b is image b seen by member m.
#[derive(Clone)]
struct Maps {
    channels: usize,
    size: usize,
    values: Vec<f64>,
}

impl Maps {
    fn row_len(&self) -> usize {
        self.channels * self.size * self.size
    }

    fn map(mut self, f: impl Fn(f64) -> f64) -> Self {
        self.values.iter_mut().for_each(|v| *v = f(*v));
        self
    }

    fn relu(self) -> Self {
        self.map(|v| if v < 0.0 { 0.0 } else { v })
    }

    fn add(mut self, other: &Maps) -> Self {
        self.values.iter_mut().zip(&other.values).for_each(|(to, v)| *to += v);
        self
    }
}

/// A network's specification and tensors.
#[derive(Clone)]
pub(crate) struct Reference {
    spec: NetworkSpec,
    pub(crate) tensors: BTreeMap<String, Vec<f64>>,
}

/// What a pass gives: logits (M, B, K), and the running statistics after it by name.
pub(crate) struct Pass {
    pub(crate) logits: Vec<f64>,
    pub(crate) running: BTreeMap<String, Vec<f64>>,
}

/// One pass on its way.
struct Walk<'a> {
    net: &'a Reference,
    batch: usize,
    mode: Mode,
    running: BTreeMap<String, Vec<f64>>,
}

impl Reference {
    pub(crate) fn of(network: &Network) -> Self {
        let tensors = network.state().unwrap().into_iter().map(|t| (t.name, wide(&t.values))).collect();
        Self { spec: network.spec().clone(), tensors }
    }

    /// The pass for images (B, C, H, W).
    pub(crate) fn pass(&self, images: &[f64], mode: Mode) -> Pass {
        let spec = &self.spec;
        let pixels = spec.image * spec.image;
        let batch = images.len() / (spec.channels * pixels);
        let normalized = images.iter().enumerate().map(|(at, value)| {
            let c = at / pixels % spec.channels;
            (value - f64::from(spec.pixel_mean[c])) / f64::from(spec.pixel_std[c])
        });
        let normalized: Vec<f64> = normalized.collect();
        let tiled = Maps {
            channels: spec.channels,
            size: spec.image,
            values: normalized.repeat(spec.members.unwrap_or(1)),
        };
        let mut walk = Walk { net: self, batch, mode, running: BTreeMap::new() };
        let logits = walk.network(tiled);
        Pass { logits, running: walk.running }
    }

    fn tensor(&self, name: &str) -> &[f64] {
        &self.tensors[name]
    }
}

impl Walk<'_> {
    fn network(&mut self, images: Maps) -> Vec<f64> {
        let spec = &self.net.spec;
        let mut x = self.conv("backbone.layers.0.conv1", &images, 1);
        if spec.family == Family::ResNet {
            x = self.norm("backbone.layers.0.norm1", x).relu();
        }
        let strides = spec.blocks.iter().enumerate().flat_map(|(stage, &blocks)| {
            (0..blocks).map(move |block| if stage > 0 && block == 0 { 2 } else { 1 })
        });
        let strides: Vec<usize> = strides.collect();
        for (block, &stride) in strides.iter().enumerate() {
            let name = format!("backbone.layers.{}", block + 1);
            x = match spec.family {
                Family::ResNet => self.post_activation(&name, &x, stride),
                Family::PreResNet => self.pre_activation(&name, &x, stride),
            };
        }
        if spec.family == Family::PreResNet {
            x = self.norm(&format!("backbone.layers.{}.norm1", strides.len() + 1), x).relu();
        }
        let pixels = (x.size * x.size) as f64;
        let pooled = x.values.chunks_exact(x.size * x.size).map(|map| map.iter().sum::<f64>() / pixels);
        let pooled = Maps { channels: x.channels, size: 1, values: pooled.collect() };
        let mut logits = self.conv("classifier.fc", &pooled, 1).values;
        let bias = if spec.members.is_some() { "classifier.fc.ensemble_bias" } else { "classifier.fc.bias" };
        let bias = self.net.tensor(bias);
        for (at, value) in logits.iter_mut().enumerate() {
            let (row, class) = (at / spec.classes, at % spec.classes);
            *value += bias[row / self.batch * spec.classes + class];
        }
        logits
    }

    /// relu(norm2(conv2(relu(norm1(conv1(x))))) + shortcut)
    fn post_activation(&mut self, name: &str, x: &Maps, stride: usize) -> Maps {
        let y = self.conv(&format!("{name}.conv1"), x, stride);
        let y = self.norm(&format!("{name}.norm1"), y).relu();
        let y = self.conv(&format!("{name}.conv2"), &y, 1);
        let y = self.norm(&format!("{name}.norm2"), y);
        let shortcut = if self.has_projection(name) {
            let projected = self.conv(&format!("{name}.shortcut.conv"), x, stride);
            self.norm(&format!("{name}.shortcut.norm"), projected)
        } else {
            identity(x, y.channels, stride)
        };
        y.add(&shortcut).relu()
    }

    /// conv2(relu(norm2(conv1(relu(norm1(x)))))) + shortcut, which is taken from x itself.
    fn pre_activation(&mut self, name: &str, x: &Maps, stride: usize) -> Maps {
        let y = self.norm(&format!("{name}.norm1"), x.clone()).relu();
        let y = self.conv(&format!("{name}.conv1"), &y, stride);
        let y = self.norm(&format!("{name}.norm2"), y).relu();
        let y = self.conv(&format!("{name}.conv2"), &y, 1);
        let shortcut = if self.has_projection(name) {
            self.conv(&format!("{name}.shortcut.conv"), x, stride)
        } else {
            identity(x, y.channels, stride)
        };
        y.add(&shortcut)
    }

    fn has_projection(&self, name: &str) -> bool {
        let is_there = self.net.tensors.contains_key(&format!("{name}.shortcut.conv.weight"));
        assert!(!is_there || self.net.spec.shortcut == Shortcut::Projection);
        is_there
    }

    /// s (W (r x)); r = s = 1 in a plain network.
    fn conv(&self, name: &str, x: &Maps, stride: usize) -> Maps {
        let weight = self.net.tensor(&format!("{name}.weight"));
        let fast = self.net.tensors.get(&format!("{name}.alpha_be"));
        let fast = fast.map(|r| (r, self.net.tensor(&format!("{name}.gamma_be"))));
        let kernel = if name.contains("conv1") || name.contains("conv2") { 3 } else { 1 };
        let channels_out = weight.len() / (x.channels * kernel * kernel);
        let shape =
            Shape { channels_in: x.channels, channels_out, kernel, stride, height: x.size, width: x.size };
        let (in_pixels, out_pixels) = (x.size * x.size, shape.out_height() * shape.out_width());
        let mut values = Vec::new();
        for (row, input) in x.values.chunks_exact(x.row_len()).enumerate() {
            let member = row / self.batch;
            let r = |channel: usize| fast.map_or(1.0, |(r, _)| r[member * x.channels + channel]);
            let s = |channel: usize| fast.map_or(1.0, |(_, s)| s[member * channels_out + channel]);
            let input: Vec<f64> = input.iter().enumerate().map(|(at, v)| v * r(at / in_pixels)).collect();
            let output = naive::forward(shape, weight, &input);
            values.extend(output.iter().enumerate().map(|(at, v)| v * s(at / out_pixels)));
        }
        Maps { channels: channels_out, size: shape.out_height(), values }
    }

    /// Batch norm, epsilon 1e-5 and momentum 0.1 (protocol, Networks).
    fn norm(&mut self, name: &str, x: Maps) -> Maps {
        let [gamma, beta, running_mean, running_var] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| self.net.tensor(&format!("{name}.{part}")));
        let pixels = x.size * x.size;
        let groups = match self.mode {
            Mode::Train { groups } => groups.clamp(1, self.batch),
            Mode::Eval => 1,
        };
        let mut out = x.clone();
        for group in 0..groups {
            let images = group * self.batch / groups..(group + 1) * self.batch / groups;
            for c in 0..x.channels {
                let places: Vec<usize> = (0..x.values.len())
                    .filter(|at| {
                        at / pixels % x.channels == c && images.contains(&(at / x.row_len() % self.batch))
                    })
                    .collect();
                let (mean, variance) = match self.mode {
                    Mode::Eval => (running_mean[c], running_var[c]),
                    Mode::Train { .. } => {
                        let count = places.len() as f64;
                        let mean = places.iter().map(|at| x.values[*at]).sum::<f64>() / count;
                        let variance =
                            places.iter().map(|at| (x.values[*at] - mean).powi(2)).sum::<f64>() / count;
                        if group == 0 {
                            let unbiased = variance * count / (count - 1.0).max(1.0);
                            let mut update = |part: &str, old: f64, new: f64| {
                                let running = self.running.entry(format!("{name}.{part}")).or_default();
                                running.push(0.9 * old + 0.1 * new);
                            };
                            update("running_mean", running_mean[c], mean);
                            update("running_var", running_var[c], unbiased);
                        }
                        (mean, variance)
                    }
                };
                let scale = gamma[c] / (variance + 1e-5).sqrt();
                for at in places {
                    out.values[at] = (x.values[at] - mean) * scale + beta[c];
                }
            }
        }
        out
    }
}

/// Every `stride`-th pixel, with zeros for the channels that are missing (option A).
fn identity(x: &Maps, channels: usize, stride: usize) -> Maps {
    let size = x.size.div_ceil(stride);
    let rows = x.values.len() / x.row_len();
    let mut values = vec![0.0; rows * channels * size * size];
    for (at, value) in values.iter_mut().enumerate() {
        let (pixel, channel, row) =
            (at % (size * size), at / (size * size) % channels, at / (channels * size * size));
        if channel < x.channels {
            let (y, column) = (pixel / size * stride, pixel % size * stride);
            *value = x.values[row * x.row_len() + (channel * x.size + y) * x.size + column];
        }
    }
    Maps { channels, size, values }
}
