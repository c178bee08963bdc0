//! Output diversified sampling (Tashiro et al. 2020) and its confidence-scaled variant (Section 4 of the paper).

use std::ops::Range;

use candle_core::Tensor;
use nn::loss::{largest, tempered_probs};
use nn::pixels::{clipped_step, unit};
use nn::{Error, Mode, Network, Result};

use super::{LEVELS, image_gradient, root_dimension};
use crate::batch::group_ranges;
use crate::noise::Noise;

/// ODS directions of a batch.
#[derive(Clone, Debug)]
pub struct Directions {
    /// The clean images (B, C, H, W).
    pub images: Tensor,
    /// Unit directions d (B, C, H, W); zero where the gradient vanishes.
    pub directions: Tensor,
    /// C_max (B,): the largest tempered probability of the perturbing teacher on the clean image.
    pub confidence: Tensor,
}

/// Directions for `images` (B, C, H, W) in [0, 1].
///
/// For each of `groups` consecutive parts of the batch one teacher r is drawn, in eval mode; for each example weights
/// w ~ U(-1, 1)^K; d is the gradient of sum_k w_k softmax(T_r(x) / tau)_k by x over its L2 norm. (The official runs have
/// four processes, each with its own r: four groups.) Only the gradient by the images is computed.
///
/// # Errors
/// [`Error::State`] where there is no teacher or an index names none; the network's errors otherwise.
pub fn ods(
    teachers: &[Network],
    images: &Tensor,
    noise: &dyn Noise,
    groups: usize,
    tau: f64,
) -> Result<Directions> {
    let batch = images.dim(0)?;
    let Some(classes) = teachers.first().map(|t| t.spec().classes) else {
        return Err(Error::State("ODS draws one of the teachers, but there are none".to_owned()));
    };
    let images = images.detach();
    let weights = noise.uniform("ods", (-1.0, 1.0), &[batch, classes], images.device())?;
    let groups: Vec<Range<usize>> = group_ranges(batch, groups).collect();
    let indices = noise.indices("ods-teacher", groups.len(), teachers.len());
    let (mut directions, mut confidences) = (Vec::new(), Vec::new());
    for (Range { start, end }, index) in groups.into_iter().zip(indices) {
        let Some(teacher) = teachers.get(index) else {
            return Err(Error::State(format!("there is no teacher {index} among {}", teachers.len())));
        };
        let part = images.narrow(0, start, end - start)?;
        let (direction, confidence) =
            direction(teacher, &part, &weights.narrow(0, start, end - start)?, tau)?;
        directions.push(direction);
        confidences.push(confidence);
    }
    Ok(Directions {
        images,
        directions: Tensor::cat(&directions, 0)?,
        confidence: Tensor::cat(&confidences, 0)?,
    })
}

/// Unit gradients (B, C, H, W) of w . softmax(T(x) / tau), and max softmax (B,).
fn direction(teacher: &Network, images: &Tensor, weights: &Tensor, tau: f64) -> Result<(Tensor, Tensor)> {
    let (gradient, probs) = image_gradient(images, |x| {
        let probs = tempered_probs(&teacher.frozen_logits(x, Mode::Eval)?.squeeze(0)?, tau)?;
        Ok(((&probs * weights)?.sum_all()?, probs))
    })?;
    Ok((unit(&gradient)?, largest(&probs)?))
}

impl Directions {
    /// eta / 255 * sqrt(D).
    fn size(&self, eta: f64) -> f64 {
        eta / LEVELS * root_dimension(&self.images)
    }

    /// clip(x + eta / 255 * sqrt(D) * d), D = C * H * W; `eta` in 1/255.
    ///
    /// # Errors
    /// Candle's, where the device fails.
    pub fn perturb(&self, eta: f64) -> Result<Tensor> {
        clipped_step(&self.images, &self.directions, self.size(eta), None)
    }

    /// clip(x + eta / 255 * C_max * sqrt(D) * d).
    ///
    /// # Errors
    /// Candle's, where the device fails.
    pub fn perturb_by_confidence(&self, eta: f64) -> Result<Tensor> {
        clipped_step(&self.images, &self.directions, self.size(eta), Some(&self.confidence))
    }
}
