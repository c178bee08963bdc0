//! What a network predicts on a data set.

use candle_core::{Device, Tensor};
use datasets::Dataset;
use nn::{Mode, Network};
use results::record::Split;

use super::pace::Piece;

/// The piece of work that the predictions for all images are.
pub fn piece(data: &Dataset, batch: usize) -> Piece {
    Piece::Predictions(u32::try_from(data.len().div_ceil(batch)).unwrap_or(u32::MAX))
}

/// Logits (M, N, K) of `network` in eval mode on all images, `batch` at a time, with the images' labels.
///
/// # Errors
/// Failures of the device.
pub fn predict(network: &Network, data: &Dataset, batch: usize, device: &Device) -> anyhow::Result<Split> {
    let (m, n, k) = (network.members(), data.len(), network.spec().classes);
    let mut logits = vec![0.0; m * n * k];
    for start in (0..n).step_by(batch) {
        let rows: Vec<usize> = (start..n.min(start + batch)).collect();
        let of_batch = network.frozen_logits(&gather(data, &rows, device)?, Mode::Eval)?;
        let values = of_batch.flatten_all()?.to_vec1::<f32>()?;
        for (member, values) in values.chunks_exact(rows.len() * k).enumerate() {
            let at = (member * n + start) * k;
            logits[at..at + values.len()].copy_from_slice(values);
        }
    }
    Ok(Split { logits, labels: data.labels.clone(), m, n, k })
}

/// The images of `rows`, which exist, as a tensor (B, 3, H, W) in [0, 1].
///
/// # Errors
/// Failures of the device.
pub fn gather(data: &Dataset, rows: &[usize], device: &Device) -> anyhow::Result<Tensor> {
    Ok(Tensor::from_vec(data.gather(rows), (rows.len(), 3, data.size, data.size), device)?)
}
