//! The other operators of a training step: norm, statistics and packing of weights within ResNet-32's passes, losses,
//! perturbation by pixels, and the optimiser.
//!
//! `cargo bench -p nn --bench parts`. Operators within a pass are timed by the counters of `nn::profile`, summed over threads.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{DType, Device, Tensor, Var};
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use nn::loss::{cross_entropy, tempered_kl, tempered_probs};
use nn::pixels::{clipped_step, unit};
use nn::profile::{self, Kind};
use nn::{Mode, Network, NetworkSpec, Sgd, SgdSettings};

const BATCH: usize = 32;
const MEMBERS: usize = 4;

fn quick<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    group
}

fn network() -> Network {
    let plain = NetworkSpec::named("resnet-32", 32, 10).expect("a known name");
    Network::new(&plain.batch_ensemble(MEMBERS), 0, &Device::Cpu).expect("memory")
}

fn labels() -> Tensor {
    let labels: Vec<u32> = (0..BATCH as u32).map(|n| n % 10).collect();
    Tensor::from_vec(labels, BATCH, &Device::Cpu).expect("memory")
}

/// Time of one kind of work in a pass forward and back.
fn within_a_pass(criterion: &mut Criterion) {
    let (network, labels) = (network(), labels());
    let images = Tensor::rand(0_f32, 1.0, (BATCH, 3, 32, 32), &Device::Cpu).expect("memory");
    let pass = || -> nn::Result<_> {
        let logits = network.logits(&images, Mode::Train { groups: 1 })?;
        Ok(cross_entropy(&logits, &labels)?.backward()?)
    };
    let mut group = quick(criterion, "resnet-32, batch ensemble of 4, forward and back");
    group.throughput(Throughput::Elements(BATCH as u64));
    for kind in [Kind::Pointwise, Kind::Statistics, Kind::Weights] {
        group.bench_function(kind.name(), |bencher| {
            bencher.iter_custom(|passes| {
                profile::enable(true);
                for _ in 0..passes {
                    black_box(pass().expect("a pass"));
                }
                let counted = profile::counted();
                profile::enable(false);
                counted.iter().filter(|counted| counted.kind == kind).map(|counted| counted.time).sum()
            });
        });
    }
    group.finish();
}

fn losses(criterion: &mut Criterion) {
    let shape = (MEMBERS, BATCH, 10);
    let logits = Var::randn(0_f32, 1.0, shape, &Device::Cpu).expect("memory");
    let teachers = Tensor::randn(0_f32, 1.0, shape, &Device::Cpu).expect("memory");
    let labels = labels();
    let target = tempered_probs(&teachers, 4.0).expect("probabilities");
    let mut group = quick(criterion, "losses, 4 members");
    group.bench_function("probabilities", |bencher| {
        bencher.iter(|| black_box(tempered_probs(&teachers, 4.0).expect("probabilities")));
    });
    group.bench_function("cross-entropy, forward and back", |bencher| {
        bencher.iter(|| black_box(cross_entropy(&logits, &labels).map(|loss| loss.backward())));
    });
    group.bench_function("tempered KL, forward and back", |bencher| {
        bencher.iter(|| black_box(tempered_kl(&target, &logits, 4.0).map(|loss| loss.backward())));
    });
    group.finish();
}

fn perturbation(criterion: &mut Criterion) {
    let shape = (BATCH, 3, 32, 32);
    let images = Tensor::rand(0_f32, 1.0, shape, &Device::Cpu).expect("memory");
    let gradient = Tensor::randn(0_f32, 1.0, shape, &Device::Cpu).expect("memory");
    let mut group = quick(criterion, "perturbation by pixels");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("unit length", |bencher| {
        bencher.iter(|| black_box(unit(&gradient).expect("a direction")));
    });
    group.bench_function("clipped step", |bencher| {
        bencher.iter(|| black_box(clipped_step(&images, &gradient, 1.0, None).expect("images")));
    });
    group.finish();
}

fn optimiser(criterion: &mut Criterion) {
    let network = network();
    let settings = SgdSettings { momentum: 0.9, weight_decay: 5e-4, weight_decay_fast: 0.0, nesterov: false };
    let mut sgd = Sgd::new(&network, settings);
    let count = network.params().elem_count();
    let mut group = quick(criterion, "optimiser");
    group.throughput(Throughput::Elements(count as u64));
    group.bench_function("momentum and weight decay", |bencher| {
        bencher.iter_batched(
            || Tensor::zeros(count, DType::F32, &Device::Cpu).expect("memory"),
            |gradient| sgd.apply(&network, &gradient, 1e-3, 5e-4).expect("a step"),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, within_a_pass, losses, perturbation, optimiser);
criterion_main!(benches);
