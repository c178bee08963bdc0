//! What the missing runs will cost: time, from timed steps of their own code on the device that will train them, and
//! floating-point operations, counted in the same steps.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::{DType, Tensor};
use methods::{Batch, Step, Streams, micro_batch};
use nn::{Mode, Network, profile};

use super::{Plan, method, recipe};
use crate::config::Config;
use crate::device::Chosen;
use crate::model;

/// A full batch is timed where it is expected to take no longer than this; else a small one is scaled up.
const PATIENCE_SECONDS: f64 = 1.0;

/// One training step of a method.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Time of a step over a full batch.
    pub seconds: f64,
    /// Floating-point operations for one training image ([`profile::operations`]), where they were counted.
    pub operations: Option<f64>,
}

/// The cost of each method of the missing runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    steps: BTreeMap<String, Cost>,
    /// Seconds of the predictions for one image.
    predictions: BTreeMap<String, f64>,
}

impl Estimate {
    /// The cost of one step of `method`, where it was timed.
    pub fn step(&self, method: &str) -> Option<Cost> {
        self.steps.get(method).copied()
    }

    /// The estimate of given step times, by method. A prediction is taken for a third of what a step is to an image: one
    /// pass of three.
    ///
    /// # Errors
    /// An unknown method.
    pub fn given(steps: BTreeMap<String, f64>, config: &Config) -> anyhow::Result<Self> {
        let mut predictions = BTreeMap::new();
        for (name, seconds) in &steps {
            let method = method(config, name)?;
            let batch = recipe(config, name, method.as_ref()).batch;
            predictions.insert(name.clone(), seconds / 3.0 / batch as f64);
        }
        let cost = |(name, seconds)| (name, Cost { seconds, operations: None });
        Ok(Self { steps: steps.into_iter().map(cost).collect(), predictions })
    }

    /// Takes the times of `others` where they are known.
    pub fn replace(&mut self, others: Self) {
        self.steps.extend(others.steps);
        self.predictions.extend(others.predictions);
    }

    /// Seconds of a whole run of `method`, and of one of its epochs: steps and validations, and at the end the predictions.
    /// `None` where it was not timed.
    ///
    /// # Errors
    /// An unknown method.
    pub fn run_seconds(&self, config: &Config, name: &str) -> anyhow::Result<Option<(f64, f64)>> {
        let (Some(step), Some(prediction)) = (self.steps.get(name), self.predictions.get(name)) else {
            return Ok(None);
        };
        let method = method(config, name)?;
        let recipe = recipe(config, name, method.as_ref());
        let (data, epochs) = (&config.data, recipe.epochs);
        let validations = (1..=epochs).filter(|epoch| recipe.validates(*epoch)).count();
        let images = (validations + 1) * data.val_rows + data.test_rows;
        let steps = step.seconds * (epochs * recipe.steps(data.train_rows)) as f64;
        let seconds = steps + prediction * images as f64;
        Ok(Some((seconds, seconds / epochs.max(1) as f64)))
    }
}

/// Times steps on images of constant grey with freshly initialised networks: the arithmetic is that of training.
pub(super) fn measure(plan: &Plan, config: &Config, chosen: &Chosen) -> anyhow::Result<Estimate> {
    let plain = model::spec(config)?.in_precision(chosen.precision);
    let device = &chosen.device;
    let mut estimate = Estimate::default();
    let mut teachers: Vec<Network> = Vec::new();
    for name in plan.missing().map(|run| run.row.method()) {
        if estimate.steps.contains_key(name) {
            continue;
        }
        let method = method(config, name)?;
        let recipe = recipe(config, name, method.as_ref());
        while method.uses_teachers() && teachers.len() < config.members {
            teachers.push(Network::new(&plain, teachers.len() as u64, device)?);
        }
        let student = Network::new(&method.student(&plain, config.members), 0, device)?;
        method.prepare(&student)?;
        let mut sgd = model::optimiser(recipe, method.as_ref(), config.members).sgd(&student);
        let noise = Streams { seed: 0, epoch: 1, step: 0 };
        let step = Step {
            student: &student,
            teachers: &teachers,
            groups: config.bn_groups,
            noise: &noise,
            progress: 0.0,
        };
        let mut timed = |rows: usize| -> anyhow::Result<f64> {
            let start = Instant::now();
            let shape = (rows, plain.channels, plain.image, plain.image);
            let images = Tensor::full(0.5_f32, shape, device)?;
            let labels = Tensor::zeros(rows, DType::U32, device)?;
            let batch = Batch { images, labels };
            let (_, gradient) = micro_batch::gradient(&*method, &batch, &step, chosen.micro_batch)?;
            // A rate of zero: the weights, and so the numbers, stay sane.
            sgd.apply(&student, &gradient, 0.0, 0.0)?;
            device.synchronize()?;
            Ok(start.elapsed().as_secs_f64())
        };
        let small = (2 * config.bn_groups).clamp(8, recipe.batch.max(8)).min(recipe.batch);
        let scale = recipe.batch as f64 / small as f64;
        // The first step also starts threads and reserves memory: it counts only where it is too slow to repeat.
        let before = profile::operations();
        let mut seconds = timed(small)?;
        let operations = (profile::operations() - before) as f64 / small as f64;
        if seconds <= PATIENCE_SECONDS {
            seconds = timed(small)?;
        }
        seconds *= scale;
        if seconds <= PATIENCE_SECONDS {
            // The fastest of three, the first of which reserves memory for its size.
            seconds = f64::INFINITY;
            for _ in 0..3 {
                seconds = seconds.min(timed(recipe.batch)?);
            }
        }
        estimate.steps.insert(name.to_owned(), Cost { seconds, operations: Some(operations) });
        let shape = (small, plain.channels, plain.image, plain.image);
        let images = Tensor::full(0.5_f32, shape, device)?;
        student.frozen_logits(&images, Mode::Eval)?;
        let start = Instant::now();
        student.frozen_logits(&images, Mode::Eval)?;
        device.synchronize()?;
        estimate.predictions.insert(name.to_owned(), start.elapsed().as_secs_f64() / small as f64);
    }
    Ok(estimate)
}
