//! A network around given images: T(x + e) = T(x) + J e + ..., J the Jacobian (K, D) by the image (the paper's section
//! 3.2). The rows of J are never all needed at once: J enters through J^T v, one backward pass for a whole batch.

use candle_core::{Tensor, Var};
use nn::{Error, Mode, Network, Result};
use results::analysis::Space;

/// A plain network's outputs on a batch of images, ready to be differentiated.
pub struct Linearization {
    images: Var,
    logits: Tensor,
    values: Vec<f64>,
    classes: usize,
}

impl Linearization {
    /// The plain network `network`, in eval mode, around `images` (B, C, H, W).
    ///
    /// # Errors
    /// The network's, such as one of more than one member.
    pub fn new(network: &Network, images: &Tensor) -> Result<Self> {
        let images = Var::from_tensor(&images.detach().contiguous()?)?;
        let logits = network.frozen_logits(&images, Mode::Eval)?.squeeze(0)?;
        let (_, classes) = logits.dims2()?;
        Ok(Self { values: doubles(&logits)?, images, logits, classes })
    }

    /// The outputs (B, K) in `space`.
    pub fn outputs(&self, space: Space) -> Vec<f64> {
        outputs(space, &self.values, self.classes)
    }

    /// J^T v for each image, (B, D), where J is the Jacobian in `space` and `v` (B, K).
    ///
    /// # Errors
    /// Where `v` has another size, or the device fails.
    pub fn pull_back(&self, space: Space, v: &[f32]) -> Result<Vec<f32>> {
        // By the chain rule J^T v = J_z^T u, z the logits.
        let mut u = Vec::with_capacity(v.len());
        for (z, v) in self.values.chunks_exact(self.classes).zip(v.chunks_exact(self.classes)) {
            let v = v.iter().map(|v| f64::from(*v));
            match space {
                Space::Logits => {
                    let mean = v.clone().sum::<f64>() / self.classes as f64;
                    u.extend(v.map(|v| (v - mean) as f32));
                }
                Space::Probs => {
                    let p = softmax(z);
                    let mean: f64 = p.iter().zip(v.clone()).map(|(p, v)| p * v).sum();
                    u.extend(p.iter().zip(v).map(|(p, v)| (p * (v - mean)) as f32));
                }
            }
        }
        let u = Tensor::from_vec(u, self.logits.shape(), self.logits.device())?;
        let gradients = (&self.logits * u)?.sum_all()?.backward()?;
        match gradients.get(&self.images) {
            Some(gradient) => Ok(gradient.flatten_all()?.to_vec1()?),
            None => Err(Error::State("the network's output does not depend on the image".to_owned())),
        }
    }
}

/// `logits` (B, K) in `space`: less their mean over classes, or as probabilities.
pub fn outputs(space: Space, logits: &[f64], classes: usize) -> Vec<f64> {
    let rows = logits.chunks_exact(classes);
    match space {
        Space::Logits => rows
            .flat_map(|z| {
                let mean = z.iter().sum::<f64>() / classes as f64;
                z.iter().map(move |z| z - mean)
            })
            .collect(),
        Space::Probs => rows.flat_map(softmax).collect(),
    }
}

/// A tensor's values as `f64`.
///
/// # Errors
/// Failures of the device.
pub fn doubles(tensor: &Tensor) -> Result<Vec<f64>> {
    Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f64::from).collect())
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let mut probs = vec![0.0; z.len()];
    metrics::softmax(z.iter().copied(), &mut probs);
    probs
}
