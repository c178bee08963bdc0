//! ResNet-32 as a whole: predictions, the gradient by input of a frozen teacher, and a training step.
//!
//! `cargo bench -p nn --bench networks`. Throughput counts images, each seen by every subnetwork.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{Device, Tensor, Var};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use nn::loss::cross_entropy;
use nn::{Mode, Network, NetworkSpec, Sgd, SgdSettings};

const BATCH: usize = 32;

fn resnet_32(criterion: &mut Criterion) {
    for members in [None, Some(4)] {
        let plain = NetworkSpec::named("resnet-32", 32, 10).expect("a known name");
        let spec = NetworkSpec { members, ..plain };
        let network = Network::new(&spec, 0, &Device::Cpu).expect("memory");
        let images = Var::rand(0_f32, 1.0, (BATCH, 3, 32, 32), &Device::Cpu).expect("memory");
        let detached = images.as_detached_tensor();
        let labels: Vec<u32> = (0..BATCH as u32).map(|n| n % 10).collect();
        let labels = Tensor::from_vec(labels, BATCH, &Device::Cpu).expect("memory");

        let kind = if members.is_some() { "resnet-32, batch ensemble of 4" } else { "resnet-32, plain" };
        let mut group = criterion.benchmark_group(kind);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Elements(BATCH as u64));
        group.bench_function("predictions", |bencher| {
            bencher.iter(|| black_box(network.frozen_logits(&detached, Mode::Eval).expect("a pass")));
        });
        group.bench_function("forward in training", |bencher| {
            bencher.iter(|| black_box(network.logits(&detached, Mode::Train { groups: 1 }).expect("a pass")));
        });
        group.bench_function("gradient by images of a frozen network", |bencher| {
            bencher.iter_batched(
                || network.frozen_logits(&images, Mode::Eval).and_then(|l| Ok(l.sum_all()?)).expect("a pass"),
                |output| black_box(output.backward().expect("a pass back")),
                BatchSize::PerIteration,
            );
        });
        let settings =
            SgdSettings { momentum: 0.9, weight_decay: 5e-4, weight_decay_fast: 0.0, nesterov: false };
        let mut sgd = Sgd::new(&network, settings);
        group.bench_function("training step", |bencher| {
            bencher.iter(|| -> nn::Result<()> {
                let logits = network.logits(&detached, Mode::Train { groups: 1 })?;
                sgd.step(&network, &cross_entropy(&logits, &labels)?, 1e-3, 5e-4)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, resnet_32);
criterion_main!(benches);
