//! One method's training step on random images, with the settings that an experiment gives the method.

use std::time::Instant;

use anyhow::Context;
use candle_core::{Device, Tensor};
use datasets::{Dataset, Loader};
use methods::{Batch, Step, Streams, micro_batch};
use nn::{Network, NetworkSpec, Precision, profile};
use random::Stream;

use crate::config::Config;
use crate::nearest::UnknownName;
use crate::{device, model, plan};

/// On a CUDA device the warm-up ends after so many steps in a row in which no pass was still being tried in several manners. One
/// such step is not enough: it may have drawn one teacher of several, while another's pass is still to be tried.
const CHOOSING: usize = 14;
/// Steps that are waited for this at most.
const PATIENCE: usize = 200;

/// What is timed.
#[derive(Clone, Debug)]
pub struct StepBench {
    /// The settings of methods, optimisers and batch-norm groups. The sizes are those below.
    pub config: Config,
    /// Network, such as `resnet-32`.
    pub network: String,
    /// Training images a step.
    pub batch: usize,
    /// Classes.
    pub classes: usize,
    /// Subnetworks and teachers.
    pub members: usize,
    /// Height and width of an image.
    pub image: usize,
    /// Untimed steps; on a CUDA device at least as many as the choice of what it launches takes.
    pub warmup: usize,
    /// Timed steps.
    pub steps: usize,
    /// Precision of convolutions and feature maps.
    pub precision: Precision,
    /// The most images of a pass; `None` takes the batch as it is.
    pub micro_batch: Option<usize>,
}

/// Times of one method.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Median time of a step, in seconds.
    pub seconds: f64,
    /// Mean time of a step that [`nn::profile`] counted, in seconds.
    pub mean: f64,
    /// Floating-point operations of a step ([`profile::operations`]).
    pub operations: f64,
    /// Bytes that a step's kernels moved on a CUDA device ([`profile::Counted`]); `None` on the CPU.
    pub bytes: Option<f64>,
    /// The most memory of the device in use in the timed steps and before, in MiB; `None` on the CPU.
    pub device_peak_mib: Option<u64>,
}

impl StepBench {
    /// Times `method`. [`nn::profile`] then holds the work by kind: on the CPU of the timed steps, with `profiled`; on a CUDA
    /// device, which that slows down, of as many steps after them.
    ///
    /// # Errors
    /// An unknown method or network; failures of the device.
    pub fn run(&self, name: &str, on: &Device, profiled: bool) -> anyhow::Result<Measured> {
        // Of the method before: what it counts keeps passes from being recorded.
        profile::enable(false);
        let method = plan::method(&self.config, name)?;
        let recipe = plan::recipe(&self.config, name, method.as_ref());
        let plain = self.spec()?.in_precision(self.precision);
        let student = Network::new(&method.student(&plain, self.members), 0, on)?;
        method.prepare(&student)?;
        let count = if method.uses_teachers() { self.members } else { 0 };
        let teachers =
            (1..=count as u64).map(|seed| Network::new(&plain, seed, on)).collect::<nn::Result<Vec<_>>>()?;
        let batch = self.random_batch(on)?;
        let optimiser = model::optimiser(recipe, method.as_ref(), self.members);
        let mut sgd = optimiser.sgd(&student);
        let (mut times, mut operations) = (Vec::new(), 0);
        let mut timed = |index: usize| -> anyhow::Result<f64> {
            let start = Instant::now();
            let before = profile::operations();
            let noise = Streams { seed: 0, epoch: 1, step: index as u64 };
            let groups = self.config.bn_groups;
            let step = Step { student: &student, teachers: &teachers, groups, noise: &noise, progress: 0.0 };
            let (_, gradient) = micro_batch::gradient(&*method, &batch, &step, self.micro_batch)
                .with_context(|| format!("{name}, bn_groups = {groups}"))?;
            sgd.apply(&student, &gradient, optimiser.lr, optimiser.lr_fast)?;
            on.synchronize()?;
            operations = profile::operations() - before;
            Ok(start.elapsed().as_secs_f64())
        };
        let is_slowed = on.is_cuda();
        let (mut warmup, mut chosen) = (0, 0);
        while warmup < self.warmup || is_slowed && chosen < CHOOSING && warmup < PATIENCE {
            timed(warmup)?;
            warmup += 1;
            chosen = if device::is_choosing() { 0 } else { chosen + 1 };
        }
        let steps = warmup..warmup + self.steps.max(1);
        profile::enable(profiled && !is_slowed);
        for index in steps.clone() {
            times.push(timed(index)?);
        }
        let mut mean = times.iter().sum::<f64>() / times.len() as f64;
        let device_peak_mib = device::peak_mib(on);
        if is_slowed {
            profile::enable(true);
            mean = 0.0;
            for index in steps {
                mean += timed(index)? / times.len() as f64;
            }
        }
        let moved: u64 = profile::counted().iter().map(|counted| counted.bytes).sum();
        let bytes = is_slowed.then(|| moved as f64 / times.len() as f64);
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        let seconds =
            if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2.0 };
        Ok(Measured { seconds, mean, operations: operations as f64, bytes, device_peak_mib })
    }

    /// Time to make one augmented batch from decoded images in memory, in seconds: the mean over an epoch.
    pub fn loading_seconds(&self) -> f64 {
        const BATCHES: usize = 16;
        let mut draws = Stream::new(0, "bench").draws(0, 1);
        let examples = BATCHES * self.batch;
        let dataset = Dataset {
            images: (0..examples * 3 * self.image * self.image).map(|_| draws.next_u32() as u8).collect(),
            labels: (0..examples).map(|_| draws.below(self.classes as u32)).collect(),
            classes: self.classes,
            size: self.image,
            posterior: None,
        };
        let loader = Loader::new(&dataset, self.batch, 0, Some(4));
        let start = Instant::now();
        let made: usize = loader.epoch(1).map(|batch| batch.labels.len()).sum();
        start.elapsed().as_secs_f64() * self.batch as f64 / made.max(1) as f64
    }

    /// The plain network, which takes images to be of CIFAR-10.
    ///
    /// # Errors
    /// An unknown name.
    pub fn spec(&self) -> Result<NetworkSpec, UnknownName> {
        let data = datasets::Id::Cifar10.spec();
        Ok(model::network(&self.network, self.image, self.classes)?.normalized(data.mean, data.std))
    }

    fn random_batch(&self, device: &Device) -> anyhow::Result<Batch> {
        let mut draws = Stream::new(0, "bench").draws(0, 0);
        let shape = (self.batch, 3, self.image, self.image);
        let pixels: Vec<f32> =
            (0..self.batch * 3 * self.image * self.image).map(|_| draws.uniform()).collect();
        let labels: Vec<u32> = (0..self.batch).map(|_| draws.below(self.classes as u32)).collect();
        Ok(Batch {
            images: Tensor::from_vec(pixels, shape, device)?,
            labels: Tensor::from_vec(labels, self.batch, device)?,
        })
    }
}
