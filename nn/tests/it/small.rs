//! Small networks with parameters and statistics that leave no term out, and images for them.

use candle_core::{Device, Tensor, Var};
use nn::{Family, Network, NetworkSpec, Precision, Shortcut};
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

pub(crate) fn normals(draws: &mut Draws, len: usize) -> Vec<f32> {
    (0..len).map(|_| draws.normal()).collect()
}

/// A specification with one block in each of `stages` stages.
pub(crate) fn spec(family: Family, shortcut: Shortcut, stages: usize, image: usize) -> NetworkSpec {
    NetworkSpec {
        family,
        shortcut,
        blocks: vec![1; stages],
        in_planes: 5,
        widen: 1,
        channels: 3,
        image,
        classes: 4,
        members: None,
        pixel_mean: vec![0.5, 0.4, 0.45],
        pixel_std: vec![0.25, 0.3, 0.2],
        precision: Precision::F32,
    }
}

/// The four kinds of network.
pub(crate) fn kinds() -> [(Family, Shortcut); 4] {
    [
        (Family::ResNet, Shortcut::Identity),
        (Family::ResNet, Shortcut::Projection),
        (Family::PreResNet, Shortcut::Identity),
        (Family::PreResNet, Shortcut::Projection),
    ]
}

/// Both families, both shortcuts, plain and BatchEnsemble, channels below, at and above a block of sixteen.
pub(crate) fn specs() -> impl Strategy<Value = NetworkSpec> {
    let blocks = prop_oneof![Just(vec![2]), Just(vec![1, 1]), Just(vec![1, 2]), Just(vec![1, 1, 1])];
    let planes = prop_oneof![Just(3_usize), Just(5), Just(8), Just(9)];
    let members = prop_oneof![Just(None), (1..=3_usize).prop_map(Some)];
    (0..4_usize, blocks, planes, 1..=2_usize, 5..=9_usize, 2..=9_usize, members).prop_map(
        |(kind, blocks, in_planes, widen, image, classes, members)| {
            let (family, shortcut) = kinds()[kind];
            let base = spec(family, shortcut, 1, image);
            NetworkSpec { blocks, in_planes, widen, classes, members, ..base }
        },
    )
}

/// The network with every norm, running statistic and bias drawn at random.
pub(crate) fn network(spec: &NetworkSpec, seed: u64) -> Network {
    let network = Network::new(spec, seed, &Device::Cpu).unwrap();
    let mut draws = draws(seed);
    let mut state = network.state().unwrap();
    for tensor in &mut state {
        let (low, high) = match tensor.name.rsplit('.').next() {
            Some("weight") if tensor.shape.len() == 1 => (0.5, 1.5),
            Some("running_var") => (0.5, 2.0),
            Some("running_mean" | "bias" | "ensemble_bias") => (-0.5, 0.5),
            _ => continue,
        };
        tensor.values.fill_with(|| draws.uniform_in(low, high));
    }
    network.load_state(&state).unwrap();
    network
}

/// Images (batch, 3, image, image) in [0, 1], with a gradient.
pub(crate) fn images(spec: &NetworkSpec, batch: usize, seed: u64) -> Var {
    let mut draws = draws(seed ^ 0x51);
    let values: Vec<f32> =
        (0..batch * spec.channels * spec.image * spec.image).map(|_| draws.uniform()).collect();
    Var::from_vec(values, (batch, spec.channels, spec.image, spec.image), &Device::Cpu).unwrap()
}

pub(crate) fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

pub(crate) fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

/// The bits of a tensor's values: equal where the values are, NaN included.
pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}
