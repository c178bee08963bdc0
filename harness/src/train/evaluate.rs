//! Logits of a network on a data set.

use candle_core::{Device, Tensor};
use datasets::Dataset;
use nn::{Mode, Network};

use super::pace::Piece;

/// Logits (M, N, K), member-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Logits {
    /// M * N * K values.
    pub values: Vec<f32>,
    /// Subnetworks.
    pub m: usize,
    /// Images.
    pub n: usize,
    /// Classes.
    pub k: usize,
}

impl Logits {
    /// Room for the logits of `n` images.
    pub fn zeros(m: usize, n: usize, k: usize) -> Self {
        Self { values: vec![0.0; m * n * k], m, n, k }
    }

    /// Puts the logits (M, B, K) of the images from `start` on in their place.
    pub fn place(&mut self, start: usize, batch: &Tensor) -> candle_core::Result<()> {
        let (m, b, k) = batch.dims3()?;
        if m != self.m || k != self.k || start + b > self.n {
            candle_core::bail!(
                "logits of shape {:?} do not fit ({}, {}, {}) from image {start}",
                batch.shape(),
                self.m,
                self.n,
                self.k
            );
        }
        let values = batch.flatten_all()?.to_vec1::<f32>()?;
        for (member, rows) in values.chunks_exact(b * k).enumerate() {
            let at = (member * self.n + start) * k;
            self.values[at..at + b * k].copy_from_slice(rows);
        }
        Ok(())
    }
}

/// The piece of work that the predictions for all images are.
pub fn piece(data: &Dataset, batch: usize) -> Piece {
    Piece::Predictions(u32::try_from(data.len().div_ceil(batch)).unwrap_or(u32::MAX))
}

/// Logits of `network` in eval mode on all images, `batch` at a time.
///
/// # Errors
/// Failures of the device.
pub fn logits(network: &Network, data: &Dataset, batch: usize, device: &Device) -> anyhow::Result<Logits> {
    let mut all = Logits::zeros(network.members(), data.len(), network.spec().classes);
    for start in (0..data.len()).step_by(batch) {
        let images = images(data, start, batch, device)?;
        all.place(start, &network.frozen_logits(&images, Mode::Eval)?)?;
    }
    Ok(all)
}

/// The images from `start` on, at most `count`, as a tensor (B, 3, H, W) in [0, 1].
///
/// # Errors
/// Failures of the device.
pub fn images(data: &Dataset, start: usize, count: usize, device: &Device) -> anyhow::Result<Tensor> {
    let rows: Vec<usize> = (start..data.len().min(start + count)).collect();
    gather(data, &rows, device)
}

/// The images of `rows`, which exist, as a tensor (B, 3, H, W) in [0, 1].
///
/// # Errors
/// Failures of the device.
pub fn gather(data: &Dataset, rows: &[usize], device: &Device) -> anyhow::Result<Tensor> {
    Ok(Tensor::from_vec(data.gather(rows), (rows.len(), 3, data.size, data.size), device)?)
}
