//! Softmax of rows of logits, the losses made of it with their gradients, and lengths of images.
//!
//! Sums are in f64 and in the order of the values, and exponentials and logarithms are not the system's: every machine gives
//! the same bits.

use crate::ops::rows::{Divergence, Rows};

/// Softmax of a row over a temperature.
struct Softmax {
    largest: f64,
    temperature: f64,
    /// exp((z - largest) / temperature) of each value, and their sum.
    exps: Vec<f64>,
    sum: f64,
    log_sum: f64,
}

impl Softmax {
    fn new(logits: &[f32], temperature: f64) -> Self {
        let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let exps: Vec<f64> =
            logits.iter().map(|&z| libm::exp((f64::from(z) - largest) / temperature)).collect();
        let sum = exps.iter().sum();
        Self { largest, temperature, exps, sum, log_sum: libm::log(sum) }
    }

    fn probs(&self) -> impl Iterator<Item = f64> {
        self.exps.iter().map(|exp| exp / self.sum)
    }

    fn log_prob(&self, logit: f32) -> f64 {
        (f64::from(logit) - self.largest) / self.temperature - self.log_sum
    }
}

/// Each row of `values`, none where rows have no value.
fn rows(values: &[f32], of: Rows) -> std::slice::ChunksExact<'_, f32> {
    values.chunks_exact(of.classes.max(1))
}

/// softmax(logits / temperature) of each row.
pub(crate) fn probs(logits: &[f32], of: Rows, temperature: f64) -> Vec<f32> {
    let mut probs = Vec::with_capacity(logits.len());
    for row in rows(logits, of) {
        probs.extend(Softmax::new(row, temperature).probs().map(|p| p as f32));
    }
    probs
}

/// Its gradient by the logits, p (g - sum g p) / temperature, from `probs` and the gradient by them.
///
/// Every g is taken less that of the largest p, which changes nothing where the p add up to 1: of a p that is nearly 1 the
/// rounding is as large as all others together, and would otherwise be in the sum.
pub(crate) fn probs_grad(probs: &[f32], grads: &[f32], of: Rows, temperature: f64) -> Vec<f32> {
    let mut made = Vec::with_capacity(probs.len());
    for (probs, grads) in rows(probs, of).zip(rows(grads, of)) {
        let largest = (1..probs.len()).fold(0, |best, k| if probs[k] > probs[best] { k } else { best });
        let start = f64::from(grads[largest]);
        let pairs = || probs.iter().zip(grads).map(|(&p, &g)| (f64::from(p), f64::from(g) - start));
        let mean: f64 = pairs().map(|(p, g)| p * g).sum();
        made.extend(pairs().map(|(p, g)| (p * (g - mean) / temperature) as f32));
    }
    made
}

/// The mean over rows of -ln softmax(logits)_y and its gradient, given the labels of images, again and again. A label that
/// is no class is the error.
pub(crate) fn cross_entropy(logits: &[f32], labels: &[u32], of: Rows) -> Result<(f32, Vec<f32>), u32> {
    let (count, mut loss) = (of.rows as f64, 0.0);
    let mut grads = Vec::with_capacity(logits.len());
    for (row, &label) in rows(logits, of).zip(labels.iter().cycle()) {
        let softmax = Softmax::new(row, 1.0);
        let place = label as usize;
        loss -= softmax.log_prob(*row.get(place).ok_or(label)?);
        let wanted = |k| if k == place { 1.0 } else { 0.0 };
        grads.extend(softmax.probs().enumerate().map(|(k, p)| ((p - wanted(k)) / count) as f32));
    }
    Ok(((loss / count) as f32, grads))
}

/// The mean over rows of the divergence from `targets` and its gradient; targets of fewer rows come again and again.
pub(crate) fn divergence(targets: &[f32], logits: &[f32], of: Rows, kind: Divergence) -> (f32, Vec<f32>) {
    let (count, mut loss) = (of.rows as f64, 0.0);
    let mut grads = Vec::with_capacity(logits.len());
    for (row, targets) in rows(logits, of).zip(rows(targets, of).cycle()) {
        let softmax = Softmax::new(row, kind.temperature);
        let targets = || targets.iter().map(|&t| f64::from(t));
        for (t, &logit) in targets().zip(row) {
            let log_target = if kind.with_entropy { libm::log(floored(t)) } else { 0.0 };
            loss += t * (log_target - softmax.log_prob(logit));
        }
        let mass: f64 = targets().sum();
        let scale = kind.temperature * count;
        grads.extend(softmax.probs().zip(targets()).map(|(q, t)| ((q * mass - t) / scale) as f32));
    }
    ((loss / count) as f32, grads)
}

/// t ln t -> 0 for t -> 0: the floor keeps the logarithm finite where the product is zero anyway.
fn floored(target: f64) -> f64 {
    target.max(f64::from(f32::MIN_POSITIVE))
}

/// Each image's values over their length, which is taken as `least` at least.
pub(crate) fn unit(values: &[f32], dimension: usize, least: f64) -> Vec<f32> {
    let mut made = Vec::with_capacity(values.len());
    for image in values.chunks_exact(dimension.max(1)) {
        let squares: f64 = image.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
        let length = squares.sqrt();
        // Keeps a NaN.
        let length = if length < least { least } else { length };
        made.extend(image.iter().map(|&v| (f64::from(v) / length) as f32));
    }
    made
}
