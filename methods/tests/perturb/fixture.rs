//! Teachers, images, and noise that is given rather than drawn.

use candle_core::{DType, Device, Tensor};
use methods::Noise;
use nn::{Family, Mode, Network, NetworkSpec, Precision, Shortcut};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use random::{Draws, Stream};

/// A configuration of proptest that draws the same cases in every run.
pub(crate) fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub(crate) fn draws(seed: u64) -> Draws {
    Stream::new(seed, "tests").draws(0, 0)
}

pub(crate) const IMAGE: usize = 4;
/// D = C * H * W.
pub(crate) const DIMENSION: usize = 3 * IMAGE * IMAGE;

/// Given draws, whatever their names are.
pub(crate) struct Given {
    /// The teacher of each group.
    pub(crate) teachers: Vec<usize>,
    /// w (B, K) or z (B, C, H, W).
    pub(crate) values: Vec<f32>,
}

impl Noise for Given {
    /// What is drawn for a whole batch is not given.
    fn draws(&self, name: &str) -> Draws {
        Stream::new(0, name).draws(0, 0)
    }

    fn indices(&self, _name: &str, groups: usize, _count: usize) -> Vec<usize> {
        self.teachers[..groups].to_vec()
    }

    fn uniform(&self, _: &str, _: (f32, f32), shape: &[usize], device: &Device) -> nn::Result<Tensor> {
        Ok(Tensor::from_slice(&self.values, shape, device)?)
    }

    fn normal(&self, _name: &str, shape: &[usize], device: &Device) -> nn::Result<Tensor> {
        Ok(Tensor::from_slice(&self.values, shape, device)?)
    }
}

/// Weights for teacher 0 alone.
pub(crate) fn weights(values: &[f32]) -> Given {
    Given { teachers: vec![0], values: values.to_vec() }
}

pub(crate) fn uniforms(draws: &mut Draws, len: usize, low: f32, high: f32) -> Vec<f32> {
    (0..len).map(|_| draws.uniform_in(low, high)).collect()
}

pub(crate) fn images(values: Vec<f32>) -> Tensor {
    let batch = values.len() / DIMENSION;
    Tensor::from_vec(values, (batch, 3, IMAGE, IMAGE), &Device::Cpu).unwrap()
}

/// Images with pixels uniform in `low..high`.
pub(crate) fn random_images(seed: u64, batch: usize, low: f32, high: f32) -> Tensor {
    images(uniforms(&mut draws(seed), batch * DIMENSION, low, high))
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn bits(tensor: &Tensor) -> Vec<u32> {
    values(tensor).into_iter().map(f32::to_bits).collect()
}

/// L2 norms of the examples.
pub(crate) fn norms(tensor: &Tensor) -> Vec<f64> {
    let norm = |row: &[f32]| row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
    values(tensor).chunks(DIMENSION).map(norm).collect()
}

fn spec(classes: usize) -> NetworkSpec {
    NetworkSpec {
        family: Family::PreResNet,
        shortcut: Shortcut::Projection,
        blocks: vec![1, 1],
        in_planes: 6,
        widen: 1,
        channels: 3,
        image: IMAGE,
        classes,
        members: None,
        pixel_mean: vec![0.5; 3],
        pixel_std: vec![0.25; 3],
        precision: Precision::F32,
    }
}

/// A teacher with running statistics of random images, and norms whose biases are near `bias`.
fn with_bias(classes: usize, seed: u64, bias: f32) -> Network {
    let network = Network::new(&spec(classes), seed, &Device::Cpu).unwrap();
    let mut draws = draws(seed);
    edit(&network, |name, values| {
        if name.contains("norm") && name.ends_with("bias") {
            values.fill_with(|| bias + draws.uniform_in(-0.2, 0.2));
        }
    });
    let images = random_images(seed, 64, 0.0, 1.0);
    for _ in 0..60 {
        network.frozen_logits(&images, Mode::Train { groups: 1 }).unwrap();
    }
    network
}

/// A teacher like those in training: about half of its units active.
pub(crate) fn teacher(classes: usize, seed: u64) -> Network {
    with_bias(classes, seed, 0.0)
}

/// A teacher without kinks near the images: every unit is active, so its logits are an affine function of the image,
/// here with logits near zero at `image`, so that its probabilities curve.
pub(crate) fn smooth_teacher(classes: usize, seed: u64, image: &Tensor) -> Network {
    let network = with_bias(classes, seed, 8.0);
    let logits = values(&network.frozen_logits(image, Mode::Eval).unwrap());
    let mut draws = draws(seed + 1);
    edit(&network, |name, values| {
        if name == "classifier.fc.bias" {
            values
                .iter_mut()
                .zip(&logits)
                .for_each(|(bias, logit)| *bias += draws.uniform_in(-1.0, 1.0) - logit);
        }
    });
    network
}

/// Changes parameters by name.
pub(crate) fn edit(network: &Network, mut change: impl FnMut(&str, &mut [f32])) {
    let mut state = network.state().unwrap();
    for tensor in &mut state {
        change(&tensor.name, &mut tensor.values);
    }
    network.load_state(&state).unwrap();
}

/// Logits (B, K) in f64.
pub(crate) fn logits(teacher: &Network, images: &Tensor) -> Vec<Vec<f64>> {
    let logits = teacher.frozen_logits(images, Mode::Eval).unwrap().squeeze(0).unwrap();
    logits.to_dtype(DType::F64).unwrap().to_vec2().unwrap()
}

/// softmax(logits / tau) of one example.
pub(crate) fn softmax(logits: &[f64], tau: f64) -> Vec<f64> {
    let exps: Vec<f64> = logits.iter().map(|v| (v / tau).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().map(|e| e / sum).collect()
}

/// softmax(T(x) / tau), (B, K).
pub(crate) fn probs(teacher: &Network, images: &Tensor, tau: f64) -> Vec<Vec<f64>> {
    logits(teacher, images).iter().map(|logits| softmax(logits, tau)).collect()
}

/// Slope of ln(value) over ln(size), by least squares.
pub(crate) fn slope(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().map(|(size, value)| (size.ln(), value.abs().ln())).collect();
    let count = logs.len() as f64;
    let (x, y) = logs.iter().fold((0.0, 0.0), |(x, y), (a, b)| (x + a / count, y + b / count));
    let covariance: f64 = logs.iter().map(|(a, b)| (a - x) * (b - y)).sum();
    covariance / logs.iter().map(|(a, _)| (a - x).powi(2)).sum::<f64>()
}
