//! The convolutions of ResNet-32 and of wide networks through the engine: forward, gradient by input, gradient by weight.
//!
//! `cargo bench -p nn --bench operators`. Throughput counts multiply-adds.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{DType, Device, Tensor, Var};
use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use nn::layer::LayerSpec;
use nn::{Mode, Network};

const BATCH: usize = 32;

/// Input channels, output channels, kernel, stride, image size.
const SHAPES: [(usize, usize, usize, usize, usize); 10] = [
    (3, 16, 3, 1, 32),
    (16, 16, 3, 1, 32),
    (16, 32, 3, 2, 32),
    (32, 32, 3, 1, 16),
    (32, 64, 3, 2, 16),
    (64, 64, 3, 1, 8),
    // A projection, and the widest of each stage of WRN-28-10.
    (160, 320, 1, 2, 32),
    (160, 160, 3, 1, 32),
    (320, 320, 3, 1, 16),
    (640, 640, 3, 1, 8),
];

fn quick<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(700));
    group
}

fn layer(
    (channels_in, channels_out, kernel, stride, image): (usize, usize, usize, usize, usize),
    members: Option<usize>,
) -> Network {
    let spec = LayerSpec { channels_in, channels_out, kernel, stride, image, members, linear: false };
    spec.build(0, &Device::Cpu).expect("the shape makes a layer")
}

fn convolutions(criterion: &mut Criterion) {
    for members in [None, Some(4)] {
        let rows = BATCH * members.unwrap_or(1);
        for (way, by_input, by_weight) in
            [("forward", false, false), ("by input", true, false), ("by weight", false, true)]
        {
            let kind = if members.is_some() { "batch ensemble of 4" } else { "plain" };
            let mut group = quick(criterion, &format!("convolution {way}, {kind}"));
            for shape in SHAPES {
                let (channels_in, channels_out, kernel, stride, image) = shape;
                let network = layer(shape, members);
                let images =
                    Var::rand(0_f32, 1.0, (rows, channels_in, image, image), &Device::Cpu).expect("memory");
                let out = image.div_ceil(stride);
                let products = rows * channels_in * channels_out * kernel * kernel * out * out;
                group.throughput(Throughput::Elements(products as u64));
                let input = if by_input { images.as_tensor().clone() } else { images.as_detached_tensor() };
                let run = || -> nn::Result<Tensor> {
                    if by_weight {
                        network.logits(&input, Mode::Eval)
                    } else {
                        network.frozen_logits(&input, Mode::Eval)
                    }
                };
                let name = format!(
                    "{channels_in}->{channels_out} {kernel}x{kernel} {image}x{image} stride {stride}"
                );
                group.bench_function(name, |bencher| {
                    if by_input || by_weight {
                        // A pass back needs a pass forward of its own, which is not timed.
                        bencher.iter_batched(
                            || run().and_then(|output| Ok(output.sum_all()?)).expect("a pass"),
                            |output| black_box(output.backward().expect("a pass back")),
                            criterion::BatchSize::PerIteration,
                        );
                    } else {
                        bencher.iter(|| black_box(run().expect("a pass")));
                    }
                });
            }
            group.finish();
        }
    }
}

fn classifier(criterion: &mut Criterion) {
    let mut group = quick(criterion, "classifier");
    let spec = LayerSpec {
        channels_in: 64,
        channels_out: 10,
        kernel: 1,
        stride: 1,
        image: 1,
        members: Some(4),
        linear: true,
    };
    let network = spec.build(0, &Device::Cpu).expect("the shape makes a layer");
    let images = Tensor::zeros((4 * BATCH, 64, 1, 1), DType::F32, &Device::Cpu).expect("memory");
    group.bench_function("64->10, batch ensemble of 4", |bencher| {
        bencher.iter(|| black_box(network.frozen_logits(&images, Mode::Eval).expect("a pass")));
    });
    group.finish();
}

criterion_group!(benches, convolutions, classifier);
criterion_main!(benches);
