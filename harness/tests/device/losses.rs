//! Losses, what a step leaves for its log, and steps over images, which are kernels on CUDA and chains of candle's
//! operators on the CPU.

use candle_core::{Device, Tensor, Var};
use libtest_mimic::Failed;
use nn::loss::{blend, cross_entropy, largest, tally, tempered_cross_entropy, tempered_kl, tempered_probs};
use nn::pixels::{clipped_step, unit};
use random::Stream;

use crate::compare::{failed, near, same, values};
use crate::opened;

/// Of sums over a row, in single precision.
const TOLERANCE: f64 = 2e-6;

/// (M, B, K): one row, a block's rows and more, classes of the data sets and fewer than a row has threads.
pub(crate) fn shapes() -> Vec<(String, (usize, usize, usize))> {
    [(1, 1, 2), (1, 8, 10), (4, 33, 10), (2, 5, 100), (3, 7, 200)]
        .map(|(m, b, k)| (format!("{m}x{b}x{k}"), (m, b, k)))
        .into()
}

fn normals(name: &str, count: usize) -> Vec<f32> {
    let mut draws = Stream::new(8, name).draws(0, 0);
    (0..count).map(|_| draws.normal()).collect()
}

/// Values and gradients by the logits, in one list each, and the numbers for the log.
fn pass((m, b, k): (usize, usize, usize), device: &Device) -> anyhow::Result<[Vec<f32>; 3]> {
    let tensor = |name: &str, scale: f64| -> anyhow::Result<Tensor> {
        let values = normals(name, m * b * k);
        Ok((Tensor::from_vec(values, (m, b, k), device)? * scale)?)
    };
    let z = Var::from_tensor(&tensor("logits", 4.0)?)?;
    let labels: Vec<u32> = (0..b).map(|row| (row * 7 % k) as u32).collect();
    let labels = Tensor::from_vec(labels, b, device)?;
    let target = tempered_probs(&tensor("teachers", 6.0)?, 3.0)?;
    let first = target.narrow(0, 0, 1)?;
    let (ce, kl) = (cross_entropy(&z, &labels)?, tempered_kl(&target, &z, 4.0)?);
    let total = blend(&ce, &kl, (0.1, 0.9 * 16.0))?;
    let weights = tensor("weights", 1.0)?;
    let losses = [
        ce.clone(),
        kl.clone(),
        total.clone(),
        tempered_kl(&first, &z, 1.0)?,
        tempered_cross_entropy(&target, &z, 2.0)?,
        (tempered_probs(&z, 4.0)? * weights)?.sum_all()?,
    ];
    let (mut of_losses, mut gradients) = (Vec::new(), Vec::new());
    for loss in losses {
        let gradient = loss.backward()?;
        let gradient = gradient.get(&z).ok_or_else(|| anyhow::anyhow!("no gradient"))?;
        of_losses.push(loss.to_scalar::<f32>()?);
        gradients.extend(gradient.flatten_all()?.to_vec1::<f32>()?);
    }
    of_losses.extend(target.flatten_all()?.to_vec1::<f32>()?);
    of_losses.extend(largest(&target)?.flatten_all()?.to_vec1::<f32>()?);
    // A row with two largest values counts its first.
    let tied = z.maximum(0.5)?.minimum(0.5)?;
    let mut log = tally([&total, &ce], Some(&kl), &z, &labels)?.to_vec1::<f32>()?;
    log.extend(tally([&total, &ce], None, &tied, &labels)?.to_vec1::<f32>()?);
    Ok([of_losses, gradients, log])
}

pub(crate) fn losses(shape: (usize, usize, usize)) -> Result<(), Failed> {
    let found = pass(shape, &opened()?).map_err(failed)?;
    let expected = pass(shape, &Device::Cpu).map_err(failed)?;
    for (index, what) in ["losses", "gradients", "log"].iter().enumerate() {
        near(what, &found[index], &expected[index], TOLERANCE)?;
    }
    for index in [3, 7] {
        same("hits", &found[2][index..=index], &expected[2][index..=index])?;
    }
    Ok(())
}

/// Directions of a gradient that is zero for one image, and steps along them.
pub(crate) fn perturbations() -> Result<(), Failed> {
    let shape = (3, 3, 9, 9);
    let pass = |device: &Device| -> anyhow::Result<Vec<Tensor>> {
        let count = 3 * 3 * 9 * 9;
        let images: Vec<f32> =
            normals("images", count).iter().map(|z| (0.5 + 0.3 * z).clamp(0.0, 1.0)).collect();
        let images = Tensor::from_vec(images, shape, device)?;
        let kept = Tensor::new(&[1e-3_f32, 0.0, 1.0], device)?.reshape((3, 1, 1, 1))?;
        let gradient = Tensor::from_vec(normals("gradient", count), shape, device)?.broadcast_mul(&kept)?;
        let (unit, factors) = (unit(&gradient)?, Tensor::new(&[0.2_f32, 1.0, 0.9], device)?);
        let steps = [None, Some(&factors)].map(|factors| clipped_step(&images, &unit, 2.0, factors));
        Ok([Ok(unit)].into_iter().chain(steps).collect::<nn::Result<_>>()?)
    };
    let (found, expected) = (pass(&opened()?).map_err(failed)?, pass(&Device::Cpu).map_err(failed)?);
    for ((what, found), expected) in ["unit", "step", "scaled step"].iter().zip(&found).zip(&expected) {
        near(what, &values(found)?, &values(expected)?, TOLERANCE)?;
    }
    Ok(())
}
