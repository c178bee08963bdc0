//! Single layers through the engine: output and all gradients against sums by definition in f64.

use candle_core::{Device, Tensor, Var};
use nn::layer::LayerSpec;
use nn::{Mode, Network};
use proptest::prelude::*;

use crate::naive::{self, Shape};
use crate::small::{cases, draws, normals, values, wide};
use crate::threads::on_threads;

/// Everything that a layer is computed from, in f64.
struct Layer {
    shape: Shape,
    members: usize,
    batch: usize,
    weight: Vec<f64>,
    /// (M, I), (M, O), (M, O).
    r: Vec<f64>,
    s: Vec<f64>,
    bias: Vec<f64>,
    /// (M * B, I, H, W) and (M * B, O, H', W').
    inputs: Vec<f64>,
    grads_out: Vec<f64>,
}

#[derive(Default)]
struct Sums {
    output: Vec<f64>,
    inputs: Vec<f64>,
    weight: Vec<f64>,
    r: Vec<f64>,
    s: Vec<f64>,
    bias: Vec<f64>,
}

impl Layer {
    /// y = s (W (r x)) + bias for each row, and the gradients of the sum of y times `grads_out`.
    fn sums(&self) -> Sums {
        let Shape { channels_in, channels_out, .. } = self.shape;
        let (in_pixels, out_pixels) =
            (self.shape.in_len() / channels_in, self.shape.out_len() / channels_out);
        let mut sums = Sums {
            weight: vec![0.0; self.weight.len()],
            r: vec![0.0; self.r.len()],
            s: vec![0.0; self.s.len()],
            bias: vec![0.0; self.bias.len()],
            ..Sums::default()
        };
        for row in 0..self.members * self.batch {
            let member = row / self.batch;
            let r = &self.r[member * channels_in..][..channels_in];
            let s = &self.s[member * channels_out..][..channels_out];
            let bias = &self.bias[member * channels_out..][..channels_out];
            let input = &self.inputs[row * self.shape.in_len()..][..self.shape.in_len()];
            let grad = &self.grads_out[row * self.shape.out_len()..][..self.shape.out_len()];
            let scaled: Vec<f64> = input.iter().enumerate().map(|(at, x)| x * r[at / in_pixels]).collect();
            let before = naive::forward(self.shape, &self.weight, &scaled);
            sums.output.extend(
                before.iter().enumerate().map(|(at, y)| y * s[at / out_pixels] + bias[at / out_pixels]),
            );
            for (at, grad) in grad.iter().enumerate() {
                sums.s[member * channels_out + at / out_pixels] += grad * before[at];
                sums.bias[member * channels_out + at / out_pixels] += grad;
            }
            let grad: Vec<f64> = grad.iter().enumerate().map(|(at, g)| g * s[at / out_pixels]).collect();
            let weight = naive::grad_weight(self.shape, &scaled, &grad);
            sums.weight.iter_mut().zip(weight).for_each(|(to, value)| *to += value);
            for (at, grad) in naive::grad_input(self.shape, &self.weight, &grad).into_iter().enumerate() {
                sums.r[member * channels_in + at / in_pixels] += grad * input[at];
                sums.inputs.push(grad * r[at / in_pixels]);
            }
        }
        sums
    }

    /// The same over absolute values: what rounding is measured against.
    fn magnitudes(&self) -> Sums {
        let of = |values: &[f64]| values.iter().map(|v| v.abs()).collect();
        Layer {
            weight: of(&self.weight),
            r: of(&self.r),
            s: of(&self.s),
            bias: of(&self.bias),
            inputs: of(&self.inputs),
            grads_out: of(&self.grads_out),
            ..*self
        }
        .sums()
    }
}

/// The tensor whose name ends with one of `names`, or `len` times `otherwise` where the layer has none.
fn tensor(network: &Network, names: &[&str], len: usize, otherwise: f64) -> Vec<f64> {
    let state = network.state().unwrap();
    let found = state.iter().find(|t| names.iter().any(|name| t.name == format!("layer.{name}")));
    found.map_or(vec![otherwise; len], |t| wide(&t.values))
}

/// Makes each magnitude the largest of its `len` neighbours.
fn widen(magnitudes: &mut [f64], len: usize) {
    for part in magnitudes.chunks_mut(len) {
        part.fill(part.iter().copied().fold(0.0, f64::max));
    }
}

fn check(spec: LayerSpec, batch: usize, seed: u64) -> Result<(), String> {
    let members = spec.members.unwrap_or(1);
    let LayerSpec { channels_in, channels_out, kernel, stride, image, .. } = spec;
    let shape = Shape { channels_in, channels_out, kernel, stride, height: image, width: image };
    let network = spec.build(seed, &Device::Cpu).unwrap();
    let mut draws = draws(seed);
    let mut state = network.state().unwrap();
    for tensor in &mut state {
        tensor.values.fill_with(|| draws.normal());
    }
    network.load_state(&state).unwrap();
    let inputs = normals(&mut draws, members * batch * shape.in_len());
    let grads_out = normals(&mut draws, members * batch * shape.out_len());
    let layer = Layer {
        shape,
        members,
        batch,
        weight: tensor(&network, &["weight"], 0, 0.0),
        r: tensor(&network, &["alpha_be"], members * channels_in, 1.0),
        s: tensor(&network, &["gamma_be"], members * channels_out, 1.0),
        bias: tensor(&network, &["bias", "ensemble_bias"], members * channels_out, 0.0),
        inputs: wide(&inputs),
        grads_out: wide(&grads_out),
    };

    let images = Var::from_vec(inputs, (members * batch, channels_in, image, image), &Device::Cpu).unwrap();
    let output = network.logits(&images, Mode::Train { groups: 1 }).unwrap();
    // A map of one pixel is handed out as logits, whatever the layer.
    let dims = if shape.out_height() == 1 {
        vec![members, batch, channels_out]
    } else {
        vec![members * batch, channels_out, shape.out_height(), shape.out_width()]
    };
    if output.dims() != dims {
        return Err(format!("output {:?}, expected {dims:?}", output.dims()));
    }
    let weights = Tensor::from_vec(grads_out, dims, &Device::Cpu).unwrap();
    let gradients = (&output * weights).unwrap().sum_all().unwrap().backward().unwrap();
    let by_params = values(gradients.get(network.params()).unwrap());

    let (sums, mut magnitudes) = (layer.sums(), layer.magnitudes());
    if kernel == 3 && stride == 1 {
        // In Winograd's form what belongs to one tile, or to one pair of channels, is rounded together.
        widen(&mut magnitudes.output, shape.out_len() / channels_out);
        widen(&mut magnitudes.inputs, shape.in_len() / channels_in);
        widen(&mut magnitudes.weight, kernel * kernel);
    }
    naive::compare("output", &values(&output), &sums.output, &magnitudes.output)?;
    let by_images = values(gradients.get(&images).unwrap());
    naive::compare("gradient by input", &by_images, &sums.inputs, &magnitudes.inputs)?;
    for entry in network.layout().entries() {
        let (expected, magnitude) = match entry.name.as_str() {
            "layer.weight" => (&sums.weight, &magnitudes.weight),
            "layer.alpha_be" => (&sums.r, &magnitudes.r),
            "layer.gamma_be" => (&sums.s, &magnitudes.s),
            "layer.bias" | "layer.ensemble_bias" => (&sums.bias, &magnitudes.bias),
            other => return Err(format!("unexpected parameter `{other}`")),
        };
        naive::compare(&entry.name, &by_params[entry.range()], expected, magnitude)?;
    }
    Ok(())
}

fn convolutions() -> impl Strategy<Value = LayerSpec> {
    let members = prop_oneof![Just(None), (1..=4_usize).prop_map(Some)];
    (1..70_usize, 1..70_usize, prop_oneof![Just(1_usize), Just(3)], 1..=2_usize, 1..=20_usize, members)
        .prop_map(|(channels_in, channels_out, kernel, stride, image, members)| LayerSpec {
            channels_in,
            channels_out,
            kernel,
            stride,
            image,
            members,
            linear: false,
        })
}

proptest! {
    #![proptest_config(cases(64))]

    #[test]
    fn convolution(
        spec in convolutions(),
        batch in 1..=6_usize,
        threads in 1..=5_usize,
        seed in any::<u64>(),
    ) {
        prop_assert_eq!(on_threads(threads, || check(spec, batch, seed)), Ok(()));
    }

    #[test]
    fn classifier(
        channels_in in 1..70_usize,
        channels_out in 1..70_usize,
        members in prop_oneof![Just(None), (1..=4_usize).prop_map(Some)],
        batch in 1..=40_usize,
        threads in 1..=5_usize,
        seed in any::<u64>(),
    ) {
        let spec = LayerSpec { channels_in, channels_out, kernel: 1, stride: 1, image: 1, members, linear: true };
        prop_assert_eq!(on_threads(threads, || check(spec, batch, seed)), Ok(()));
    }
}

#[test]
fn impossible_layers_are_errors() {
    let good = LayerSpec {
        channels_in: 3,
        channels_out: 4,
        kernel: 3,
        stride: 1,
        image: 5,
        members: Some(2),
        linear: false,
    };
    assert!(good.build(0, &Device::Cpu).is_ok());
    for bad in [
        LayerSpec { channels_in: 0, ..good },
        LayerSpec { channels_out: 0, ..good },
        LayerSpec { kernel: 2, ..good },
        LayerSpec { kernel: 0, ..good },
        LayerSpec { stride: 0, ..good },
        LayerSpec { stride: 3, ..good },
        LayerSpec { image: 0, ..good },
        LayerSpec { members: Some(0), ..good },
    ] {
        assert!(bad.build(0, &Device::Cpu).is_err(), "{bad:?}");
    }
    // Two members need an even number of tiled images.
    let network = good.build(0, &Device::Cpu).unwrap();
    let images = Tensor::zeros((3, 3, 5, 5), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(network.logits(&images, Mode::Eval).is_err());
}
