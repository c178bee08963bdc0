//! Everything that needs a CUDA device, in one binary that can be carried to one: `device [--test-threads 1]`.
//!
//! Where no device is found, or the build has no CUDA, each test is listed as ignored; none passes without running. The
//! variable DIVKD_REQUIRE=cuda makes that an error.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use candle_core::{Device, Tensor, Var};
use datasets::{Dataset, Loader};
use harness::oracle;
use harness::train::batches::Batches;
use libtest_mimic::{Arguments, Failed, Trial};
use methods::{Batch, Step, Streams};
use nn::draws::{self, Keyed};
use nn::layer::LayerSpec;
use nn::{Mode, Network, NetworkSpec, Precision, Sgd, SgdSettings};
use random::Stream;

fn main() -> ExitCode {
    // candle's device belongs to one thread.
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(1);
    let missing = device().err();
    let required = std::env::var("DIVKD_REQUIRE").unwrap_or_default();
    if let Some(reason) = &missing {
        eprintln!("device tests are ignored: {reason}");
        if required.split(',').any(|name| name == "cuda") {
            eprintln!("DIVKD_REQUIRE asks for cuda");
            return ExitCode::FAILURE;
        }
    }
    let mut trials = Vec::new();
    let mut add = |name: String, test: Box<dyn FnOnce() -> Result<(), Failed> + Send>| {
        trials.push(Trial::test(name, test).with_ignored_flag(missing.is_some()));
    };
    for (name, spec, batch) in layers() {
        for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
            add(format!("layer::{name}::{precision}"), Box::new(move || layer(spec, batch, precision)));
        }
    }
    for (name, spec) in networks() {
        for (mode_name, mode) in [
            ("eval", Mode::Eval),
            ("train", Mode::Train { groups: 1 }),
            ("groups", Mode::Train { groups: 3 }),
        ] {
            for precision in [Precision::F32, Precision::Tf32, Precision::Bf16] {
                let spec = spec.clone();
                let name = format!("network::{name}::{mode_name}::{precision}");
                add(name, Box::new(move || network(&spec, mode, precision)));
            }
        }
    }
    for case in cases() {
        let name = case.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        add(format!("oracle::{name}"), Box::new(move || oracle_case(&case)));
    }
    for entry in methods::registry() {
        add(format!("repeats::{}", entry.name), Box::new(move || repeats(entry.name)));
        add(format!("follows_cpu::{}", entry.name), Box::new(move || follows_cpu(entry.name)));
    }
    add("draws".to_owned(), Box::new(random_draws));
    add("batches".to_owned(), Box::new(batches));
    add("sgd".to_owned(), Box::new(optimiser));
    libtest_mimic::run(&arguments, trials).exit_code()
}

thread_local! {
    static DEVICE: OnceCell<Device> = const { OnceCell::new() };
}

/// The device of this thread.
fn device() -> anyhow::Result<Device> {
    DEVICE.with(|cell| {
        if let Some(device) = cell.get() {
            return Ok(device.clone());
        }
        let device = harness::device::choose("cuda:0", "f32")?.device;
        Ok(cell.get_or_init(|| device).clone())
    })
}

fn opened() -> Result<Device, Failed> {
    device().map_err(failed)
}

fn failed(error: impl Into<anyhow::Error>) -> Failed {
    Failed::from(format!("{:#}", error.into()))
}

fn values(tensor: &Tensor) -> Result<Vec<f32>, Failed> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).map_err(failed)
}

/// |found - expected| over |expected|.
fn near(what: &str, found: &[f32], expected: &[f32], tolerance: f64) -> Result<(), Failed> {
    let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let size = square(&mut expected.iter().map(|v| f64::from(*v)));
    let off = square(&mut found.iter().zip(expected).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    if found.len() == expected.len() && off <= tolerance * size.max(1e-12) {
        return Ok(());
    }
    Err(format!("{what}: {:.2e} off, allowed {tolerance:.0e}", off / size).into())
}

fn same(what: &str, found: &[f32], expected: &[f32]) -> Result<(), Failed> {
    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    if bits(found) == bits(expected) { Ok(()) } else { Err(format!("{what}: other bits").into()) }
}

/// How far outputs may be off: rounding of sums, of factors to 10 bits, of maps and factors to 8 bits. Gradients through a
/// network may be off by more, because a ReLU near zero decides the other way.
fn tolerance(precision: Precision) -> f64 {
    match precision {
        Precision::F32 => 1e-5,
        Precision::Tf32 => 5e-3,
        Precision::Bf16 => 5e-2,
    }
}

/// Shapes of the two kinds of networks that are trained, their first layers and strided ones, and classifiers.
fn layers() -> Vec<(String, LayerSpec, usize)> {
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
        layers.push((name, spec, 16));
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
fn layer(spec: LayerSpec, batch: usize, precision: Precision) -> Result<(), Failed> {
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
    let found = pass(&opened()?, precision).map_err(failed)?;
    let expected = pass(&Device::Cpu, Precision::F32).map_err(failed)?;
    for ((what, found), expected) in ["output", "parameters", "input"].iter().zip(&found).zip(&expected) {
        near(what, &values(found)?, &values(expected)?, tolerance(precision))?;
    }
    Ok(())
}

/// Both families and shortcuts, plain and BatchEnsemble.
fn networks() -> Vec<(String, NetworkSpec)> {
    let named = |name: &str| NetworkSpec::named(name, 16, 10).unwrap().normalized([0.5; 3], [0.25; 3]);
    let projected = NetworkSpec { shortcut: nn::Shortcut::Projection, ..named("resnet-8") };
    let identity = NetworkSpec { shortcut: nn::Shortcut::Identity, ..named("wrn-10-2") };
    let plain = [
        ("resnet-8", named("resnet-8")),
        ("resnet-8-projection", projected),
        ("wrn-10-2", named("wrn-10-2")),
        ("wrn-10-2-identity", identity),
    ];
    let ensembles = plain.clone().map(|(name, spec)| (format!("{name}-be3"), spec.batch_ensemble(3)));
    plain.map(|(name, spec)| (name.to_owned(), spec)).into_iter().chain(ensembles).collect()
}

fn images(spec: &NetworkSpec, batch: usize) -> Vec<f32> {
    let mut draws = Stream::new(6, "device").draws(0, 0);
    (0..batch * 3 * spec.image * spec.image).map(|_| draws.uniform()).collect()
}

/// Logits, gradients and running statistics of a network's pass, as on the CPU.
fn network(spec: &NetworkSpec, mode: Mode, precision: Precision) -> Result<(), Failed> {
    const BATCH: usize = 20;
    let pass = |device: &Device, precision| -> anyhow::Result<[Vec<f32>; 4]> {
        let network = Network::new(&spec.clone().in_precision(precision), 7, device)?;
        let x = Var::from_vec(images(spec, BATCH), (BATCH, 3, spec.image, spec.image), device)?;
        let logits = network.logits(&x, mode)?;
        let labels: Vec<u32> = (0..BATCH as u32).map(|row| row % 10).collect();
        let loss = nn::loss::cross_entropy(&logits, &Tensor::new(labels.as_slice(), device)?)?;
        let gradients = loss.backward()?;
        let of = |var: &Var| -> anyhow::Result<Vec<f32>> {
            let gradient = gradients.get(var).ok_or_else(|| anyhow::anyhow!("no gradient"))?;
            Ok(gradient.flatten_all()?.to_vec1()?)
        };
        Ok([logits.flatten_all()?.to_vec1()?, network.buffers()?, of(network.params())?, of(&x)?])
    };
    let found = pass(&opened()?, precision).map_err(failed)?;
    let expected = pass(&Device::Cpu, Precision::F32).map_err(failed)?;
    let of_output = 4.0 * tolerance(precision);
    for (index, what) in ["logits", "running statistics", "parameters", "images"].iter().enumerate() {
        let allowed = if index < 2 { of_output } else { 5.0 * of_output };
        near(what, &found[index], &expected[index], allowed)?;
    }
    Ok(())
}

/// The recorded cases: beside this source, or in the folder DIVKD_ORACLE where the binary was carried elsewhere.
fn cases() -> Vec<PathBuf> {
    let root = std::env::var_os("DIVKD_ORACLE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/oracle"), PathBuf::from);
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root)
        .map(|entries| entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
        .unwrap_or_default();
    cases.sort();
    cases
}

fn oracle_case(case: &Path) -> Result<(), Failed> {
    let outcome = oracle::run(case, &opened()?).map_err(failed)?.remove(0);
    match &outcome.result {
        Ok(worst) if worst.within() => Ok(()),
        Ok(worst) => {
            Err(format!("{}: {:.2e}, allowed {:.0e}", worst.what, worst.error, worst.tolerance).into())
        }
        Err(reason) => Err(reason.clone().into()),
    }
}

/// A few steps of a method: parameters, running statistics and losses after them.
fn steps(method: &str, device: &Device) -> anyhow::Result<(Vec<f32>, Vec<f32>, Vec<f32>)> {
    const BATCH: usize = 24;
    const MEMBERS: usize = 3;
    let method = harness::plan::method(&harness::bench::settings("cifar10")?, method)?;
    let plain = NetworkSpec::named("resnet-8", 16, 10)?.normalized([0.5; 3], [0.25; 3]);
    let student = Network::new(&method.student(&plain, MEMBERS), 1, device)?;
    method.prepare(&student)?;
    let teachers = (2..2 + MEMBERS as u64)
        .map(|seed| Network::new(&plain, seed, device))
        .collect::<nn::Result<Vec<_>>>()?;
    let settings = SgdSettings { momentum: 0.9, weight_decay: 5e-4, weight_decay_fast: 0.0, nesterov: false };
    let mut sgd = Sgd::new(&student, settings);
    let labels: Vec<u32> = (0..BATCH as u32).map(|row| row % 10).collect();
    let batch = Batch {
        images: Tensor::from_vec(images(&plain, BATCH), (BATCH, 3, 16, 16), device)?,
        labels: Tensor::new(labels.as_slice(), device)?,
    };
    let mut losses = Vec::new();
    for step in 0..3 {
        let noise = Streams { seed: 9, epoch: 1, step };
        let step = Step { student: &student, teachers: &teachers, groups: 2, noise: &noise };
        let loss = method.loss(&batch, &step)?;
        sgd.step(&student, &loss.total, 0.02, 0.01)?;
        losses.push(loss.total.to_scalar::<f32>()?);
    }
    Ok((student.params().to_vec1()?, student.buffers()?, losses))
}

/// Twice the same steps: the same bits.
fn repeats(method: &str) -> Result<(), Failed> {
    let device = opened()?;
    let (first, second) = (steps(method, &device).map_err(failed)?, steps(method, &device).map_err(failed)?);
    same("parameters", &second.0, &first.0)?;
    same("running statistics", &second.1, &first.1)?;
    same("losses", &second.2, &first.2)
}

/// The steps end where the CPU's do.
fn follows_cpu(method: &str) -> Result<(), Failed> {
    let found = steps(method, &opened()?).map_err(failed)?;
    let expected = steps(method, &Device::Cpu).map_err(failed)?;
    near("losses", &found.2, &expected.2, 1e-3)?;
    near("running statistics", &found.1, &expected.1, 1e-3)?;
    near("parameters", &found.0, &expected.0, 1e-3)
}

/// Uniforms have the CPU's bits, normals are within rounding.
fn random_draws() -> Result<(), Failed> {
    let device = opened()?;
    let keyed = Keyed { stream: Stream::new(3, "ods"), epoch: 2, first: 5 << 32 };
    for shape in [vec![128, 10], vec![3, 3, 32, 32], vec![1, 1]] {
        let draw = |device: &Device| -> anyhow::Result<(Tensor, Tensor)> {
            let uniform = draws::uniform(keyed, (-1.0, 1.0), &shape, device)?;
            Ok((uniform, draws::normal(keyed, &shape, device)?))
        };
        let (found, expected) = (draw(&device).map_err(failed)?, draw(&Device::Cpu).map_err(failed)?);
        same("uniform", &values(&found.0)?, &values(&expected.0)?)?;
        for (found, expected) in values(&found.1)?.iter().zip(values(&expected.1)?) {
            if (found - expected).abs() > 1e-6 * expected.abs().max(1e-3) {
                return Err(format!("normal: {found}, on the CPU {expected}").into());
            }
        }
    }
    Ok(())
}

/// The batches of the device's own copy of the data are the loader's, bit by bit, from the middle of an epoch too.
fn batches() -> Result<(), Failed> {
    let (size, examples) = (8, 50);
    let mut draws = Stream::new(2, "device").draws(0, 0);
    let data = Dataset {
        images: (0..examples * 3 * size * size).map(|_| draws.next_u32() as u8).collect(),
        labels: (0..examples).map(|_| draws.below(10)).collect(),
        classes: 10,
        size,
        posterior: None,
    };
    let device = opened()?;
    for pad in [None, Some(4)] {
        for done in [0, 2] {
            let all = |device: &Device| -> anyhow::Result<Vec<(Vec<f32>, Vec<u32>)>> {
                let batches = Batches::new(Loader::new(&data, 16, 11, pad), device)?;
                let values = batches.epoch(3, done)?.map(|batch| {
                    let batch = batch?;
                    Ok((batch.images.flatten_all()?.to_vec1()?, batch.labels.to_vec1()?))
                });
                values.collect()
            };
            if all(&device).map_err(failed)? != all(&Device::Cpu).map_err(failed)? {
                return Err(format!("pad {pad:?}, from batch {done}").into());
            }
        }
    }
    Ok(())
}

/// The optimiser's step has the CPU's bits, and goes on from a momentum that is carried over.
fn optimiser() -> Result<(), Failed> {
    let spec = NetworkSpec::named("resnet-8", 16, 10).map_err(failed)?.batch_ensemble(2);
    let settings = SgdSettings { momentum: 0.9, weight_decay: 5e-4, weight_decay_fast: 1e-4, nesterov: true };
    let run = |device: &Device| -> anyhow::Result<(Vec<f32>, Vec<f32>)> {
        let network = Network::new(&spec, 1, device)?;
        let mut sgd = Sgd::new(&network, settings).decaying_towards(1.0);
        let count = network.layout().parameter_count();
        for step in 0..4 {
            let mut draws = Stream::new(step, "device").draws(0, 0);
            let gradient: Vec<f32> = (0..count).map(|_| draws.normal()).collect();
            sgd.apply(&network, &Tensor::from_vec(gradient, count, device)?, 0.1, 0.05)?;
            let momentum = sgd.momentum()?;
            sgd.load_momentum(&momentum)?;
        }
        Ok((network.params().to_vec1()?, sgd.momentum()?))
    };
    let (found, expected) = (run(&opened()?).map_err(failed)?, run(&Device::Cpu).map_err(failed)?);
    same("parameters", &found.0, &expected.0)?;
    same("momentum", &found.1, &expected.1)
}
