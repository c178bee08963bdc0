//! The device's engine, on the emulated device, against the CPU's.

mod moved;
mod recorded;
#[path = "../../../tests/it/small.rs"]
mod small;

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};
use proptest::prelude::*;

use super::backward::Memory;
use super::{Kept, OnDevice};
use crate::engine::backward::Wanted;
use crate::engine::forward::Request;
use crate::engine::graph::Graph;
use crate::layer::LayerSpec;
use crate::network::{Mode, Network};
use crate::ops::cuda::backend::{Arena, Buffer};
use crate::ops::cuda::emulated::Emulated;
use crate::precision::Precision;
use crate::spec::{Family, NetworkSpec, Shortcut};
use small::{normals, values, wide};

/// What one training pass gives.
struct Pass {
    logits: Vec<f32>,
    grad_params: Option<Vec<f32>>,
    grad_images: Option<Vec<f32>>,
    buffers: Vec<f32>,
}

fn groups(mode: Mode) -> Option<usize> {
    match mode {
        Mode::Train { groups } => Some(groups),
        Mode::Eval => None,
    }
}

/// A network on the emulated device.
struct There {
    arena: Arena,
    on: OnDevice,
    params: Buffer,
}

impl There {
    fn new(network: &Network, graph: &Graph, (precision, reverse): (Precision, bool)) -> Option<Self> {
        Some(Self::on(Arc::new(Emulated::new(reverse)?), network, graph, precision))
    }

    fn on(device: Arc<Emulated>, network: &Network, graph: &Graph, precision: Precision) -> Self {
        let arena = Arena::new(device);
        let on = OnDevice::new(arena.clone(), graph, &network.buffers().unwrap(), precision).unwrap();
        let params = arena.values(&values(network.params())).unwrap();
        Self { arena, on, params }
    }

    fn forward(
        &self,
        graph: &Graph,
        images: &[f32],
        (mode, follow): (Mode, bool),
        weight_grads: bool,
    ) -> Forward {
        let batch = images.len() / graph.image.values();
        let batch = if graph.tiled_images { batch / graph.member_count() } else { batch };
        let len = graph.member_count() * batch * graph.features[graph.output()].values();
        let (from, output) = (self.arena.values(images).unwrap(), self.arena.floats(len).unwrap());
        let request = Request { batch, groups: groups(mode), follow, keep: true, beside: false };
        let addresses = (self.params.at(), from.at(), output.at());
        // SAFETY: the addresses are of the graph's sizes.
        let kept = unsafe { self.on.forward(graph, addresses, request, weight_grads) }.unwrap().unwrap();
        Forward { kept, logits: output.read(len).unwrap(), pixels: images.len() }
    }

    /// `weights` are the gradient of the logits.
    fn backward(&self, graph: &Graph, forward: Forward, weights: &[f32], wanted: Wanted) -> Pass {
        let weights = self.arena.values(weights).unwrap();
        let count = graph.layout.parameter_count();
        let fresh = |len: usize| self.arena.floats(len).unwrap();
        let (grad_params, grad_images) = (fresh(count), fresh(forward.pixels));
        let memory = Memory {
            params: self.params.at(),
            grad_output: weights.at(),
            grad_params: if wanted.params { grad_params.at() } else { 0 },
            grad_images: if wanted.images { grad_images.at() } else { 0 },
        };
        // SAFETY: the addresses are of the graph's sizes.
        unsafe { self.on.backward(graph, &forward.kept, memory, wanted) }.unwrap();
        Pass {
            logits: forward.logits,
            grad_params: wanted.params.then(|| grad_params.read(count).unwrap()),
            grad_images: wanted.images.then(|| grad_images.read(forward.pixels).unwrap()),
            buffers: self.on.buffers().unwrap(),
        }
    }
}

/// A forward pass that is to be gone back through.
struct Forward {
    kept: Kept,
    logits: Vec<f32>,
    pixels: usize,
}

/// The graph on the emulated device; `weights` are the gradient of the logits.
fn emulated(
    network: &Network,
    graph: &Graph,
    images: &[f32],
    weights: &[f32],
    (mode, follow): (Mode, bool),
    wanted: Wanted,
    device: (Precision, bool),
) -> Option<Pass> {
    let there = There::new(network, graph, device)?;
    let forward = there.forward(graph, images, (mode, follow), wanted.params);
    Some(there.backward(graph, forward, weights, wanted))
}

/// The Euclidean norm.
fn length(values: &[f32]) -> f64 {
    wide(values).iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// |a - b| over |b| or `least`, whatever is larger; infinite where a value is NaN.
fn distance(a: &[f32], b: &[f32], least: f64) -> f64 {
    assert_eq!(a.len(), b.len());
    let difference: f64 = a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum();
    let found = difference.sqrt() / length(b).max(least).max(1e-12);
    if found.is_nan() { f64::INFINITY } else { found }
}

/// How far gradients may be off, relative to what outputs may be.
const OF_GRADIENTS: f64 = 4.0;

/// A network's pass on the CPU and on the emulated device: outputs within `tolerance` of each other, gradients within
/// [`OF_GRADIENTS`] times that.
fn check(
    spec: &NetworkSpec,
    batch: usize,
    mode: Mode,
    seed: u64,
    (precision, tolerance): (Precision, f64),
) -> Result<(), String> {
    let network = small::network(spec, seed);
    let before = network.buffers().unwrap();
    let graph = spec.graph().unwrap();
    let images = small::images(spec, batch, seed);
    let weights = normals(&mut small::draws(seed ^ 7), network.members() * batch * spec.classes);
    let shape = (network.members(), batch, spec.classes);
    let logits = network.logits(&images, mode).unwrap();
    let tensor = Tensor::from_vec(weights.clone(), shape, &Device::Cpu).unwrap();
    let gradients = (&logits * tensor).unwrap().sum_all().unwrap().backward().unwrap();
    let grad_params = values(gradients.get(network.params()).unwrap());
    let grad_images = values(gradients.get(&images).unwrap());
    let after = network.buffers().unwrap();
    network.set_buffers(&before).unwrap();

    let pixels = values(&images);
    let wanted = Wanted { params: true, images: true };
    let run = |wanted, reverse| {
        emulated(&network, &graph, &pixels, &weights, (mode, true), wanted, (precision, reverse))
    };
    let Some(found) = run(wanted, false) else { return Ok(()) };
    let hold =
        |what: &str, found: &[f32], expected: &[f32], tolerance: f64| match distance(found, expected, 0.0) {
            distance if distance <= tolerance => Ok(()),
            distance => Err(format!("{what} differs by {distance:.2e}")),
        };
    hold("logits", &found.logits, &values(&logits), tolerance)?;
    if !after.is_empty() {
        hold("running statistics", &found.buffers, &after, tolerance)?;
    }
    let by_params = found.grad_params.unwrap();
    for entry in graph.layout.entries().iter().filter(|entry| entry.group != crate::Group::Buffer) {
        // What comes before a norm has gradients that cancel to nearly nothing: they are measured against all. So is every
        // tensor in bf16, where single ReLUs that flip weigh on the small ones.
        let share = if precision == Precision::Bf16 { 1.0 } else { 0.02 };
        let least = share * length(&grad_params);
        let off = distance(&by_params[entry.range()], &grad_params[entry.range()], least);
        if off > OF_GRADIENTS * tolerance {
            return Err(format!("{} differs by {off:.2e}", entry.name));
        }
    }
    hold("parameters", &by_params, &grad_params, OF_GRADIENTS * tolerance)?;
    hold("images", found.grad_images.as_ref().unwrap(), &grad_images, OF_GRADIENTS * tolerance)?;

    // Another order of blocks and threads gives the same bits; so does a pass that wants less.
    let reversed = run(wanted, true).unwrap();
    let bits = |values: &[f32]| small::bits(values);
    if bits(&reversed.grad_params.unwrap()) != bits(&by_params)
        || bits(&reversed.logits) != bits(&found.logits)
        || bits(&reversed.buffers) != bits(&found.buffers)
    {
        return Err("the order of threads changes bits".to_owned());
    }
    let still =
        emulated(&network, &graph, &pixels, &weights, (mode, false), wanted, (precision, false)).unwrap();
    if bits(&still.buffers) != bits(&before) || bits(&still.grad_params.unwrap()) != bits(&by_params) {
        return Err("running statistics that are to stay move, or change the gradient".to_owned());
    }
    let frozen = run(Wanted { params: false, images: true }, false).unwrap();
    let by_images = frozen.grad_images.unwrap();
    if mode == Mode::Eval {
        // Its norms are folded.
        hold("frozen logits", &frozen.logits, &values(&logits), tolerance)?;
        hold("images, frozen", &by_images, &grad_images, OF_GRADIENTS * tolerance)?;
    } else if bits(&by_images) != bits(&found.grad_images.unwrap()) {
        return Err("the gradient by images depends on whether that by parameters is wanted".to_owned());
    }
    let trained = run(Wanted { params: true, images: false }, false).unwrap();
    if bits(&trained.grad_params.unwrap()) != bits(&by_params) {
        return Err("the gradient by parameters depends on whether that by images is wanted".to_owned());
    }
    Ok(())
}

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Eval), (1..=3_usize).prop_map(|groups| Mode::Train { groups })]
}

const F32: (Precision, f64) = (Precision::F32, 2.5e-5);

proptest! {
    #![proptest_config(small::cases(12))]

    #[test]
    fn passes(spec in small::specs(), batch in 2..=5_usize, mode in modes(), seed in any::<u64>()) {
        prop_assert_eq!(check(&spec, batch, mode, seed, F32), Ok(()));
    }
}

/// Every kind of network in every mode, with channels that go one, four and eight at a time.
#[test]
fn passes_of_every_kind() {
    for (family, shortcut) in small::kinds() {
        for (members, planes) in [(None, 5), (Some(2), 4), (None, 8)] {
            for mode in [Mode::Eval, Mode::Train { groups: 1 }, Mode::Train { groups: 3 }] {
                let spec = NetworkSpec { members, in_planes: planes, ..small::spec(family, shortcut, 2, 6) };
                assert_eq!(
                    check(&spec, 5, mode, 11, F32),
                    Ok(()),
                    "{family:?} {shortcut:?} {members:?} {planes} {mode:?}"
                );
            }
        }
    }
}

/// bf16 keeps eight bits of each map and weight, and a ReLU near zero turns such a step into a whole pixel of gradient.
#[test]
fn passes_in_bf16() {
    for (family, shortcut) in small::kinds() {
        for planes in [4, 8] {
            let spec = NetworkSpec { in_planes: planes, ..small::spec(family, shortcut, 2, 6) };
            let coarse = (Precision::Bf16, 0.05);
            assert_eq!(
                check(&spec, 16, Mode::Train { groups: 1 }, 3, coarse),
                Ok(()),
                "{family:?} {shortcut:?}"
            );
            assert_eq!(check(&spec, 4, Mode::Eval, 3, coarse), Ok(()), "{family:?} {shortcut:?}");
        }
    }
}

/// Layers whose weights do not fill whole vectors, before one whose weights are read by vectors.
#[test]
fn weights_begin_where_vectors_do() {
    let spec = NetworkSpec { in_planes: 4, ..small::spec(Family::ResNet, Shortcut::Identity, 3, 8) };
    assert_eq!(check(&spec, 16, Mode::Train { groups: 1 }, 3, (Precision::Bf16, 0.05)), Ok(()));
}

/// Single layers, whose inputs come tiled, with every kernel size and stride: output and all gradients.
#[test]
fn layers() {
    for (kernel, stride, image, members, linear) in [
        (1, 1, 1, None, true),
        (1, 1, 1, Some(3), true),
        (3, 1, 7, None, false),
        (3, 2, 7, Some(2), false),
        (1, 2, 6, Some(2), false),
        (5, 1, 5, None, false),
    ] {
        let spec = LayerSpec { channels_in: 5, channels_out: 6, kernel, stride, image, members, linear };
        let network = spec.build(4, &Device::Cpu).unwrap();
        let graph = spec.graph().unwrap();
        let rows = members.unwrap_or(1) * 3;
        let mut draws = small::draws(9);
        let pixels = normals(&mut draws, rows * 5 * image * image);
        let images = Var::from_vec(pixels.clone(), (rows, 5, image, image), &Device::Cpu).unwrap();
        let output = network.logits(&images, Mode::Eval).unwrap();
        let weights = normals(&mut draws, output.elem_count());
        let tensor = Tensor::from_vec(weights.clone(), output.shape(), &Device::Cpu).unwrap();
        let gradients = (&output * tensor).unwrap().sum_all().unwrap().backward().unwrap();
        let wanted = Wanted { params: true, images: true };
        let precision = (Precision::F32, false);
        let Some(found) =
            emulated(&network, &graph, &pixels, &weights, (Mode::Eval, true), wanted, precision)
        else {
            return;
        };
        let what = format!("{spec:?}");
        assert!(distance(&found.logits, &values(&output), 0.0) < 1e-5, "{what}");
        let expected = values(gradients.get(network.params()).unwrap());
        assert!(distance(&found.grad_params.unwrap(), &expected, 0.0) < 1e-5, "{what}");
        let expected = values(gradients.get(&images).unwrap());
        assert!(distance(&found.grad_images.unwrap(), &expected, 0.0) < 1e-5, "{what}");
    }
}

/// A pass that keeps nothing gives its maps back on the way and has the same logits.
#[test]
fn predictions() {
    let (family, shortcut) = small::kinds()[1];
    let spec = small::spec(family, shortcut, 2, 6).batch_ensemble(2);
    let network = small::network(&spec, 5);
    let graph = spec.graph().unwrap();
    let images = small::images(&spec, 3, 5);
    let expected = values(&network.frozen_logits(&images, Mode::Eval).unwrap());
    let Some(device) = Emulated::new(false) else { return };
    let arena = Arena::new(Arc::new(device));
    let buffers = network.buffers().unwrap();
    let on = OnDevice::new(arena.clone(), &graph, &vec![0.0; buffers.len()], Precision::F32).unwrap();
    on.set_buffers(&buffers).unwrap();
    let memory = [values(network.params()), values(&images)].map(|v| arena.values(&v).unwrap());
    let output = arena.floats(expected.len()).unwrap();
    let request = Request { batch: 3, groups: None, follow: true, keep: false, beside: false };
    let addresses = (memory[0].at(), memory[1].at(), output.at());
    // SAFETY: the addresses are of the graph's sizes.
    let saved = unsafe { on.forward(&graph, addresses, request, false) }.unwrap();
    assert!(saved.is_none());
    assert!(distance(&output.read(expected.len()).unwrap(), &expected, 0.0) < 1e-5);
}
