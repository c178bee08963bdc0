//! Single layers against the CPU.

use candle_core::{Device, Tensor, Var};
use libtest_mimic::Failed;
use nn::layer::LayerSpec;
use nn::{Mode, Precision};
use random::Stream;

use crate::compare::{failed, near, smooth, values};
use crate::{any, ways};

/// Shapes of the two kinds of networks that are trained, their first layers and strided ones, and classifiers.
pub(crate) fn layers() -> Vec<(String, LayerSpec, usize)> {
    let mut layers = Vec::new();
    for (channels_in, channels_out, kernel, stride, image, members) in [
        (3, 16, 3, 1, 32, None),
        (16, 16, 3, 1, 32, None),
        (16, 32, 3, 2, 32, None),
        (64, 64, 3, 1, 8, Some(4)),
        (16, 160, 3, 1, 32, None),
        (160, 320, 3, 2, 32, Some(2)),
        (160, 320, 1, 2, 32, None),
        (640, 640, 3, 1, 8, None),
        (5, 7, 3, 2, 9, Some(3)),
        (5, 7, 5, 1, 9, None),
    ] {
        let spec = LayerSpec { channels_in, channels_out, kernel, stride, image, members, linear: false };
        let members = members.unwrap_or(1);
        let name = format!("{channels_in}-{channels_out}-k{kernel}-s{stride}-at-{image}-m{members}");
        // Of the widest few images do: they take long on an emulated device.
        layers.push((name, spec, if channels_in * channels_out > 50_000 { 4 } else { 16 }));
    }
    for (channels_in, members) in [(64, Some(4)), (640, None)] {
        let spec = LayerSpec {
            channels_in,
            channels_out: 10,
            kernel: 1,
            stride: 1,
            image: 1,
            members,
            linear: true,
        };
        layers.push((format!("classifier-{channels_in}-m{}", members.unwrap_or(1)), spec, 32));
    }
    layers
}

/// Output and gradients by parameters and input of a layer, as on the CPU.
pub(crate) fn layer(spec: LayerSpec, batch: usize, precision: Precision) -> Result<(), Failed> {
    let rows = batch * spec.members.unwrap_or(1);
    let shape = (rows, spec.channels_in, spec.image, spec.image);
    let mut draws = Stream::new(3, "device").draws(0, 0);
    let input: Vec<f32> =
        (0..rows * spec.channels_in * spec.image * spec.image).map(|_| draws.normal()).collect();
    let pass = |device: &Device, precision| -> anyhow::Result<[Tensor; 3]> {
        let network = spec.build_in(5, precision, device)?;
        let x = Var::from_vec(input.clone(), shape, device)?;
        let output = network.logits(&x, Mode::Eval)?;
        let mut draws = Stream::new(4, "device").draws(0, 0);
        let weights: Vec<f32> = (0..output.elem_count()).map(|_| draws.normal()).collect();
        let weights = Tensor::from_vec(weights, output.shape(), device)?;
        let gradients = (&output * weights)?.sum_all()?.backward()?;
        let of = |var: &Var| gradients.get(var).cloned().ok_or_else(|| anyhow::anyhow!("no gradient"));
        Ok([output, of(network.params())?, of(&x)?])
    };
    let expected = pass(&Device::Cpu, Precision::F32).map_err(failed)?;
    let mut ways = ways(precision)?;
    // In f32 these alone are chosen by measurement.
    if precision == Precision::F32 {
        ways.push(("any", any()?));
    }
    for (way, device) in ways {
        let found = pass(&device, precision).map_err(failed)?;
        for ((what, found), expected) in ["output", "parameters", "input"].iter().zip(&found).zip(&expected) {
            near(&format!("{way}: {what}"), &values(found)?, &values(expected)?, smooth(precision))?;
        }
    }
    Ok(())
}
