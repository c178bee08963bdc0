//! Batch statistics: from each image's sums to the coefficients that the pointwise operators use.

use super::graph::Norm;
use super::plan::Plan;
use crate::ops::cpu::padded;
use crate::ops::cpu::pointwise::{Affine, GradAffine};

/// Added to the variance (protocol: 1e-5).
pub(crate) const EPSILON: f64 = 1e-5;
/// Share of the new value in the running statistics (protocol: 0.1).
pub(crate) const MOMENTUM: f64 = 0.1;

/// A norm's statistics in one pass, one entry a batch-norm group.
#[derive(Clone, Default)]
pub(crate) struct Statistics {
    pub affine: Vec<Affine>,
    /// 1 / sqrt(var + eps), a value a channel.
    inverse_std: Vec<Vec<f64>>,
    /// Values that each mean was taken over; 0 where the statistics are constants.
    counts: Vec<usize>,
}

impl Statistics {
    /// Statistics of the batch. `moments` holds a row's sums and squared distances (each `padded(channels)` long);
    /// `pixels` is H * W. The running statistics, where `buffers` are given, follow group 0, as the official checkpoints
    /// do; the running variance is the unbiased one.
    pub(crate) fn of_batch(
        norm: &Norm,
        plan: &Plan,
        moments: &[f32],
        pixels: usize,
        params: &[f32],
        mut buffers: Option<&mut [f32]>,
    ) -> Self {
        let lanes = padded(norm.channels);
        let mut statistics = Self::default();
        for group in 0..plan.groups {
            let rows: Vec<usize> = (0..plan.rows()).filter(|&row| plan.group(row) == group).collect();
            let count = rows.len() * pixels;
            let mut means = vec![0.0; norm.channels];
            let mut variances = vec![0.0; norm.channels];
            for &row in &rows {
                let sums = &moments[row * 2 * lanes..];
                for (mean, sum) in means.iter_mut().zip(sums) {
                    *mean += f64::from(*sum) / count as f64;
                }
            }
            for &row in &rows {
                let (sums, squares) = moments[row * 2 * lanes..(row + 1) * 2 * lanes].split_at(lanes);
                for (c, variance) in variances.iter_mut().enumerate() {
                    // Distance from the batch mean = distance from the image's mean + that mean's own distance.
                    let shift = f64::from(sums[c]) / pixels as f64 - means[c];
                    *variance += (f64::from(squares[c]) + shift * shift * pixels as f64) / count as f64;
                }
            }
            if group == 0
                && let Some(buffers) = buffers.as_deref_mut()
            {
                let unbiased = count as f64 / (count.max(2) - 1) as f64;
                for c in 0..norm.channels {
                    let update = |value: &mut f32, new: f64| {
                        *value = (f64::from(*value) * (1.0 - MOMENTUM) + new * MOMENTUM) as f32;
                    };
                    update(&mut buffers[norm.running_mean + c], means[c]);
                    update(&mut buffers[norm.running_var + c], variances[c] * unbiased);
                }
            }
            statistics.push(norm, params, &means, &variances, count);
        }
        statistics
    }

    /// The running statistics, the same for every group.
    pub(crate) fn running(norm: &Norm, plan: &Plan, params: &[f32], buffers: &[f32]) -> Self {
        let of = |offset: usize| -> Vec<f64> {
            buffers[offset..offset + norm.channels].iter().map(|&v| f64::from(v)).collect()
        };
        let (means, variances) = (of(norm.running_mean), of(norm.running_var));
        let mut statistics = Self::default();
        for _ in 0..plan.groups {
            statistics.push(norm, params, &means, &variances, 0);
        }
        statistics
    }

    fn push(&mut self, norm: &Norm, params: &[f32], means: &[f64], variances: &[f64], count: usize) {
        let lanes = padded(norm.channels);
        let mut affine = Affine { mean: vec![0.0; lanes], scale: vec![0.0; lanes], shift: vec![0.0; lanes] };
        let inverse: Vec<f64> = variances.iter().map(|v| 1.0 / (v + EPSILON).sqrt()).collect();
        for c in 0..norm.channels {
            affine.mean[c] = means[c] as f32;
            affine.scale[c] = (f64::from(params[norm.gamma + c]) * inverse[c]) as f32;
            affine.shift[c] = params[norm.beta + c];
        }
        self.affine.push(affine);
        self.inverse_std.push(inverse);
        self.counts.push(count);
    }

    /// Coefficients of the gradient where the statistics are constants.
    pub(crate) fn constant_gradient(&self) -> Vec<GradAffine> {
        self.affine
            .iter()
            .map(|affine| GradAffine {
                mean: affine.mean.clone(),
                scale: affine.scale.clone(),
                offset: vec![0.0; affine.mean.len()],
                slope: vec![0.0; affine.mean.len()],
            })
            .collect()
    }

    /// Coefficients of the gradient by the feature map, from each row's sums of g and g * (z - mean); adds the
    /// gradients of gamma and beta onto `grads`, where they are wanted.
    pub(crate) fn gradient(
        &self,
        norm: &Norm,
        plan: &Plan,
        sums: &[f32],
        mut grads: Option<&mut [f32]>,
    ) -> Vec<GradAffine> {
        let lanes = padded(norm.channels);
        let mut coefficients = self.constant_gradient();
        for (group, coefficients) in coefficients.iter_mut().enumerate() {
            let mut totals = vec![0.0_f64; norm.channels];
            let mut products = vec![0.0_f64; norm.channels];
            for row in (0..plan.rows()).filter(|&row| plan.group(row) == group) {
                let (sum, product) = sums[row * 2 * lanes..(row + 1) * 2 * lanes].split_at(lanes);
                for c in 0..norm.channels {
                    totals[c] += f64::from(sum[c]);
                    products[c] += f64::from(product[c]);
                }
            }
            let count = self.counts[group];
            for c in 0..norm.channels {
                let inverse = self.inverse_std[group][c];
                if let Some(grads) = grads.as_deref_mut() {
                    grads[norm.gamma + c] += (products[c] * inverse) as f32;
                    grads[norm.beta + c] += totals[c] as f32;
                }
                if count > 0 {
                    coefficients.offset[c] = (totals[c] / count as f64) as f32;
                    coefficients.slope[c] = (products[c] * inverse * inverse / count as f64) as f32;
                }
            }
        }
        coefficients
    }
}
