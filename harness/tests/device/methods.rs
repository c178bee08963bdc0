//! Steps of every method: the same bits each time, the CPU's numbers, and a batch's in pieces.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use candle_core::{Device, Tensor};
use libtest_mimic::Failed;
use methods::{Batch, Step, Streams, micro_batch};
use nn::{Network, NetworkSpec, Sgd, SgdSettings};

use crate::compare::{failed, near, same};
use crate::networks::images;
use crate::{device, opened};

/// Images of a step.
const BATCH: usize = 24;
/// Their batch-norm groups.
const GROUPS: usize = 2;

/// Steps that are taken: as many as it takes to launch passes in every manner in which they are recorded.
const FEW: u64 = 4;
/// As many as it takes to choose one of them, and more.
const MANY: u64 = 16;

/// The variable that has this binary take steps, of a method and so many, and print what they left, instead of any test.
pub(crate) const FRESH: &str = "DIVKD_DEVICE_STEPS";

/// What a few steps leave.
struct Trained {
    params: Vec<f32>,
    buffers: Vec<f32>,
    losses: Vec<f32>,
}

impl Trained {
    fn has_the_bits_of(&self, other: &Self) -> Result<(), Failed> {
        same("parameters", &self.params, &other.params)?;
        same("running statistics", &self.buffers, &other.buffers)?;
        same("losses", &self.losses, &other.losses)
    }

    /// Within rounding that the steps carry on.
    fn is_near(&self, other: &Self) -> Result<(), Failed> {
        near("losses", &self.losses, &other.losses, 1e-3)?;
        near("running statistics", &self.buffers, &other.buffers, 1e-3)?;
        near("parameters", &self.params, &other.params, 1e-3)
    }

    fn digest(&self) -> String {
        let mut hasher = DefaultHasher::new();
        for values in [&self.params, &self.buffers, &self.losses] {
            values.iter().for_each(|value| value.to_bits().hash(&mut hasher));
        }
        format!("{:016x}", hasher.finish())
    }
}

/// A few steps of a method, in passes of at most `most` images.
fn steps(method: &str, device: &Device, most: Option<usize>, count: u64) -> anyhow::Result<Trained> {
    const MEMBERS: usize = 3;
    let method = harness::plan::method(&harness::bench::settings(harness::bench::EXPERIMENT)?, method)?;
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
    for step in 0..count {
        let noise = Streams { seed: 9, epoch: 1, step };
        let step =
            Step { student: &student, teachers: &teachers, groups: GROUPS, noise: &noise, progress: 0.5 };
        let (loss, gradient) = micro_batch::gradient(&*method, &batch, &step, most)?;
        sgd.apply(&student, &gradient, 0.02, 0.01)?;
        losses.push(loss.total.to_scalar::<f32>()?);
    }
    Ok(Trained { params: student.params().to_vec1()?, buffers: student.buffers()?, losses })
}

fn on_device(method: &str, most: Option<usize>) -> Result<Trained, Failed> {
    steps(method, &opened()?, most, FEW).map_err(failed)
}

/// Twice the same steps: the same bits.
pub(crate) fn repeats(method: &str) -> Result<(), Failed> {
    on_device(method, None)?.has_the_bits_of(&on_device(method, None)?)
}

/// The steps end where the CPU's do.
pub(crate) fn follows_cpu(method: &str) -> Result<(), Failed> {
    on_device(method, None)?.is_near(&steps(method, &Device::Cpu, None, FEW).map_err(failed)?)
}

/// A batch in two pieces gives what the whole gives, and the same bits each time.
pub(crate) fn pieces(method: &str) -> Result<(), Failed> {
    let most = Some(BATCH / GROUPS);
    let pieces = on_device(method, most)?;
    pieces.is_near(&on_device(method, None)?)?;
    pieces.has_the_bits_of(&on_device(method, most)?)
}

/// Another process, with a device handle and compiled kernels of its own, leaves the same bits.
pub(crate) fn fresh_process(method: &str) -> Result<(), Failed> {
    elsewhere(method, FEW, None)
}

/// Steps whose passes were recorded have the bits of steps in a process that records none.
pub(crate) fn recorded(method: &str) -> Result<(), Failed> {
    #[cfg(feature = "cuda")]
    {
        let before = (nn::cuda::replays(), nn::cuda::refusals());
        on_device(method, None)?;
        if nn::cuda::replays() == before.0 {
            return Err("no pass was recorded".into());
        }
        match nn::cuda::refusals() - before.1 {
            0 => {}
            count => return Err(format!("{count} passes could not be recorded").into()),
        }
    }
    elsewhere(method, FEW, Some(("DIVKD_CUDA_GRAPHS", "off")))
}

/// Members whose convolutions run beside each other have the bits of members that wait for each other.
pub(crate) fn members_beside() -> Result<(), Failed> {
    elsewhere("be-kd-conf-ods", FEW, Some(("DIVKD_CUDA_MEMBERS", "in-turn")))
}

/// The same of more steps, after some of which the manner is chosen.
pub(crate) fn recorded_for_long() -> Result<(), Failed> {
    elsewhere("teacher", MANY, Some(("DIVKD_CUDA_GRAPHS", "off")))
}

/// Devices that another thread opens and closes meanwhile spoil no recording.
pub(crate) fn recorded_beside_others() -> Result<(), Failed> {
    const TIMES: usize = 5;
    /// Between two devices, so that recordings get their turns.
    const PAUSE: Duration = Duration::from_millis(20);
    #[cfg(feature = "cuda")]
    let before = nn::cuda::refusals();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let opening = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                harness::device::close(harness::device::choose("cuda:0", "f32")?.device);
                std::thread::sleep(PAUSE);
            }
            anyhow::Ok(())
        });
        let trained: Result<Vec<Trained>, Failed> = (0..TIMES).map(|_| on_device("teacher", None)).collect();
        is_over.store(true, Ordering::Relaxed);
        opening.join().map_err(|_| "the other thread panicked")?.map_err(failed)?;
        trained?.windows(2).try_for_each(|pair| pair[0].has_the_bits_of(&pair[1]))
    })?;
    #[cfg(feature = "cuda")]
    match nn::cuda::refusals() - before {
        0 => {}
        count => return Err(format!("{count} recordings were spoilt").into()),
    }
    Ok(())
}

/// The same steps, here and in a process with one more variable in its environment.
fn elsewhere(method: &str, count: u64, variable: Option<(&str, &str)>) -> Result<(), Failed> {
    let here = steps(method, &opened()?, None, count).map_err(failed)?.digest();
    let binary = std::env::current_exe().map_err(failed)?;
    let output = Command::new(binary)
        .env(FRESH, format!("{method} {count}"))
        .envs(variable)
        .output()
        .map_err(failed)?;
    let there = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && there == here {
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Err(format!("{here} here, `{there}` in another process {errors}").into())
}

/// Takes the steps and prints their digest.
pub(crate) fn print_digest(asked: &str) -> ExitCode {
    let taken = || {
        let (method, count) = asked.split_once(' ').context("a method and a number of steps")?;
        steps(method, &device()?, None, count.parse()?)
    };
    match taken() {
        Ok(trained) => {
            println!("{}", trained.digest());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
