//! Everything that needs a CUDA device, in one binary that can be carried to one: `device [--test-threads 1]`.
//!
//! Where no device is found, or the build has no CUDA, each test is listed as ignored; none passes without running. The
//! variable DIVKD_REQUIRE=cuda makes that an error.

mod compare;
mod data;
mod layers;
mod losses;
mod methods;
mod networks;
mod optimiser;
mod recorded;
mod resume;

use std::cell::OnceCell;
use std::process::ExitCode;

use candle_core::Device;
use libtest_mimic::{Arguments, Failed, Trial};
use nn::{Mode, Precision};

use compare::failed;

/// What is trained with first.
const PRECISIONS: [Precision; 3] = [Precision::Bf16, Precision::F32, Precision::Tf32];

fn main() -> ExitCode {
    nn::threads::keep_apart();
    if let Some(method) = std::env::var_os(methods::FRESH) {
        return methods::print_digest(&method.to_string_lossy());
    }
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
    let trials = tests().into_iter().map(|(name, test)| Trial::test(name.clone(), told(name, test)));
    let trials = trials.map(|trial| trial.with_ignored_flag(missing.is_some())).collect();
    libtest_mimic::run(&arguments, trials).exit_code()
}

type Test = Box<dyn FnOnce() -> Result<(), Failed> + Send>;

/// The same test, which says at once why it fails: the reasons are listed at the end only, which a limit may cut off.
fn told(name: String, test: Test) -> Test {
    Box::new(move || {
        test().inspect_err(|failed| eprintln!("{name}: {}", failed.message().unwrap_or("no reason")))
    })
}

fn tests() -> Vec<(String, Test)> {
    let mut tests: Vec<(String, Test)> = Vec::new();
    let mut add = |name: String, test: Test| tests.push((name, test));
    for precision in PRECISIONS {
        for (name, spec, batch) in layers::layers() {
            let test = Box::new(move || layers::layer(spec, batch, precision));
            add(format!("layer::{name}::{precision}"), test);
        }
        for (name, spec) in networks::networks() {
            for (mode_name, mode) in [
                ("eval", Mode::Eval),
                ("train", Mode::Train { groups: 1 }),
                ("groups", Mode::Train { groups: 3 }),
            ] {
                let spec = spec.clone();
                let test = Box::new(move || networks::network(&spec, mode, precision));
                add(format!("network::{name}::{mode_name}::{precision}"), test);
            }
        }
        for case in recorded::cases() {
            let name = case.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let test = Box::new(move || recorded::oracle_case(&case, precision));
            add(format!("oracle::{name}::{precision}"), test);
        }
        for method in ["teacher", "be-kd-conf-ods"] {
            let test = Box::new(move || resume::goes_on(method, precision));
            add(format!("resume::{method}::{precision}"), test);
        }
        if cfg!(feature = "cudnn") && precision != Precision::F32 {
            let test = Box::new(move || resume::keeps_its_ways(precision));
            add(format!("resume::other_ways::{precision}"), test);
            let test = Box::new(move || resume::goes_on_otherwise(precision));
            add(format!("resume::lost_ways::{precision}"), test);
        }
    }
    for entry in ::methods::registry() {
        let name = entry.name;
        add(format!("repeats::{name}"), Box::new(|| methods::repeats(name)));
        add(format!("follows_cpu::{name}"), Box::new(|| methods::follows_cpu(name)));
        add(format!("pieces::{name}"), Box::new(|| methods::pieces(name)));
    }
    for name in ["teacher", "be-kd-conf-ods"] {
        add(format!("fresh_process::{name}"), Box::new(|| methods::fresh_process(name)));
        add(format!("recorded::{name}"), Box::new(|| methods::recorded(name)));
    }
    add("recorded::beside_others".to_owned(), Box::new(methods::recorded_beside_others));
    add("recorded::for_long".to_owned(), Box::new(methods::recorded_for_long));
    add("members_beside".to_owned(), Box::new(methods::members_beside));
    for (name, shape) in losses::shapes() {
        add(format!("losses::{name}"), Box::new(move || losses::losses(shape)));
    }
    add("perturbations".to_owned(), Box::new(losses::perturbations));
    add("draws".to_owned(), Box::new(data::random_draws));
    add("batches".to_owned(), Box::new(data::batches));
    add("sgd".to_owned(), Box::new(optimiser::optimiser));
    tests
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

/// The device with cuDNN's convolutions, with those of its engines alone, and with this project's own; in f32 there is one way.
#[cfg(feature = "cuda")]
fn ways(precision: Precision) -> Result<Vec<(&'static str, Device)>, Failed> {
    use nn::cuda::{Kernels, open_with};
    thread_local! {
        static WAYS: OnceCell<[Device; 3]> = const { OnceCell::new() };
    }
    if precision == Precision::F32 {
        return Ok(vec![("plain", opened()?)]);
    }
    opened()?;
    WAYS.with(|cell| {
        if cell.get().is_none() {
            let open = |kernels| open_with(0, kernels).map_err(failed);
            let _ = cell.set([open(Kernels::Library)?, open(Kernels::Engines)?, open(Kernels::Own)?]);
        }
        let devices = cell.get().into_iter().flatten().cloned();
        Ok(["library", "engines", "own"].into_iter().zip(devices).collect())
    })
}

/// The device with cuDNN's convolutions, deterministic or not.
#[cfg(feature = "cuda")]
fn any() -> Result<Device, Failed> {
    use nn::cuda::{Kernels, open_with};
    thread_local! {
        static ANY: OnceCell<Device> = const { OnceCell::new() };
    }
    opened()?;
    ANY.with(|cell| {
        if cell.get().is_none() {
            let _ = cell.set(open_with(0, Kernels::Any).map_err(failed)?);
        }
        cell.get().cloned().ok_or_else(|| Failed::from("no device"))
    })
}

#[cfg(not(feature = "cuda"))]
fn any() -> Result<Device, Failed> {
    opened()
}

#[cfg(not(feature = "cuda"))]
fn ways(_: Precision) -> Result<Vec<(&'static str, Device)>, Failed> {
    Ok(vec![("plain", opened()?)])
}
