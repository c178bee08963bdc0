//! One method's training step on random images.

use std::time::Instant;

use anyhow::Context;
use candle_core::{Device, Tensor};
use datasets::{Dataset, Loader};
use methods::{Batch, Method, Step, Streams};
use nn::{Network, NetworkSpec, Sgd, SgdSettings};
use random::Stream;

/// What is timed.
#[derive(Clone, Debug)]
pub struct StepBench {
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
    /// Untimed steps.
    pub warmup: usize,
    /// Timed steps.
    pub steps: usize,
}

/// Times of one method.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Median time of a step, in seconds.
    pub seconds: f64,
    /// Mean time of a step, in seconds.
    pub mean: f64,
    /// Floating-point operations of a step's convolutions and classifiers.
    pub operations: f64,
}

impl StepBench {
    /// Times `method`; with `profiled`, [`nn::profile`] then holds the timed steps' work by kind.
    ///
    /// # Errors
    /// An unknown method or network; failures of the device.
    pub fn run(&self, method: &str, device: &Device, profiled: bool) -> anyhow::Result<Measured> {
        let settings = distillation_settings(method);
        let entry = methods::find(method).with_context(|| format!("unknown method `{method}`"))?;
        let method = (entry.from_toml)(settings)?;
        let plain = NetworkSpec::named(&self.network, self.image, self.classes)?
            .normalized([0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]);
        let student = Network::new(&method.student(&plain, self.members), 0, device)?;
        let count = if method.uses_teachers() { self.members } else { 0 };
        let teachers = (1..=count as u64)
            .map(|seed| Network::new(&plain, seed, device))
            .collect::<nn::Result<Vec<_>>>()?;
        let batch = self.random_batch(device)?;
        let settings =
            SgdSettings { momentum: 0.9, weight_decay: 5e-4, weight_decay_fast: 0.0, nesterov: false };
        let mut sgd = Sgd::new(&student, settings);
        let mut times = Vec::new();
        for index in 0..self.warmup + self.steps.max(1) {
            if index == self.warmup {
                nn::profile::enable(profiled);
            }
            let start = Instant::now();
            let noise = Streams { seed: 0, epoch: 1, step: index as u64 };
            let step = Step { student: &student, teachers: &teachers, groups: 1, noise: &noise };
            let loss = method.loss(&batch, &step)?;
            sgd.step(&student, &loss.total, 0.05, 0.025)?;
            device.synchronize()?;
            if index >= self.warmup {
                times.push(start.elapsed().as_secs_f64());
            }
        }
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        times.sort_by(f64::total_cmp);
        let middle = times.len() / 2;
        let seconds =
            if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2.0 };
        Ok(Measured { seconds, mean, operations: self.operations(method.as_ref(), entry.name, &plain)? })
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

    /// Two operations a multiply-add; a training pass is three forward passes, the teachers' targets one each, an ODS
    /// direction two (its gradient by weight is not computed), a perturbed method two training passes.
    fn operations(&self, method: &dyn Method, name: &str, plain: &NetworkSpec) -> anyhow::Result<f64> {
        let forward = 2.0 * plain.multiply_adds()? as f64 * self.batch as f64;
        let subnetworks = method.student(plain, self.members).members.unwrap_or(1) as f64;
        let perturbed = matches!(name, "be-kd-gaussian" | "be-kd-ods" | "be-kd-conf-ods");
        let directed = matches!(name, "be-kd-ods" | "be-kd-conf-ods");
        let passes = if perturbed { 2.0 } else { 1.0 } * 3.0 * subnetworks
            + if method.uses_teachers() { self.members as f64 } else { 0.0 }
            + if directed { 2.0 } else { 0.0 };
        Ok(forward * passes)
    }
}

/// alpha, tau and eta of the CIFAR-10 protocol, for those methods that have them.
fn distillation_settings(method: &str) -> toml::Table {
    let mut table = toml::Table::new();
    if method.contains("kd") {
        table.insert("alpha".to_owned(), 0.9.into());
        table.insert("tau".to_owned(), 4.0.into());
    }
    if method.ends_with("gaussian") || method.ends_with("ods") {
        table.insert("eta".to_owned(), 1.0.into());
    }
    table
}
