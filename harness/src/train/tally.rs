//! Losses and accuracies of an epoch. Each step leaves four numbers on the device; they are read once an epoch, so that
//! a GPU never waits for the host.

use anyhow::bail;
use candle_core::{DType, Tensor};
use methods::Loss;

/// The numbers of the steps of one epoch.
#[derive(Default)]
pub struct Tally {
    /// Per step a tensor of 4: total, ce, kd (0 without one), correct rows among M*B.
    steps: Vec<Tensor>,
    /// Images of each step.
    images: Vec<usize>,
    members: usize,
    has_kd: bool,
}

/// Means over an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Means {
    /// The loss that was minimised.
    pub loss: f64,
    /// Its cross-entropy part.
    pub ce: f64,
    /// Its distillation part, where there is one.
    pub kd: Option<f64>,
    /// Accuracy of the clean pass on the training images, over the M*N rows of the epoch.
    pub train_acc: f64,
}

impl Tally {
    /// Adds a step: its loss and the labels (B,) of its batch.
    pub fn add(&mut self, loss: &Loss, labels: &Tensor) -> candle_core::Result<()> {
        let logits = loss.logits.detach();
        let (members, images, _) = logits.dims3()?;
        let predicted = logits.argmax(2)?;
        let correct = predicted.broadcast_eq(&labels.unsqueeze(0)?)?.to_dtype(DType::F32)?.sum_all()?;
        let kd = match &loss.kd {
            Some(kd) => kd.detach(),
            None => correct.zeros_like()?,
        };
        self.steps.push(Tensor::stack(&[loss.total.detach(), loss.ce.detach(), kd, correct], 0)?);
        self.images.push(images);
        self.members = members;
        self.has_kd = loss.kd.is_some();
        Ok(())
    }

    /// Reads the epoch's numbers.
    ///
    /// # Errors
    /// Where a loss is not finite, naming the first such step of `epoch` and its parts; `lr` is the epoch's rate.
    pub fn read(&self, epoch: usize, lr: f64) -> anyhow::Result<Means> {
        let steps: Vec<Vec<f32>> = Tensor::stack(&self.steps, 0)?.to_vec2()?;
        let mut sums = [0.0_f64; 4];
        let mut total = 0.0;
        for (index, (step, images)) in steps.iter().zip(&self.images).enumerate() {
            let [loss, ce, kd, correct] = step[..] else {
                bail!("a step left {} numbers, not 4", step.len())
            };
            if !loss.is_finite() {
                let kd = if self.has_kd { format!(", kd {kd}") } else { String::new() };
                bail!(
                    "the loss is {loss} (ce {ce}{kd}) at epoch {epoch}, step {}, rate {lr}; \
                     lower the rate (teacher.lr, student.lr) or lengthen the warm-up (schedule.milestones)",
                    index + 1
                );
            }
            let images = *images as f64;
            for (sum, value) in sums.iter_mut().zip([loss, ce, kd]) {
                *sum += f64::from(value) * images;
            }
            sums[3] += f64::from(correct);
            total += images;
        }
        let kd = self.has_kd.then_some(sums[2] / total);
        let rows = total * self.members as f64;
        Ok(Means { loss: sums[0] / total, ce: sums[1] / total, kd, train_acc: sums[3] / rows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    /// Two members, two classes; `logits` in the order (M, B, K).
    fn step(total: f32, kd: Option<f32>, logits: &[f32], labels: &[u32]) -> (Loss, Tensor) {
        let scalar = |value: f32| Tensor::new(value, &Device::Cpu).unwrap();
        let logits = Tensor::from_slice(logits, (2, labels.len(), 2), &Device::Cpu).unwrap();
        let loss = Loss { total: scalar(total), ce: scalar(0.5), kd: kd.map(scalar), logits };
        (loss, Tensor::new(labels, &Device::Cpu).unwrap())
    }

    #[test]
    fn means_weigh_steps_by_their_images() {
        let mut tally = Tally::default();
        // Member 1 is right on both images, member 2 on the first; then one image that both get wrong.
        let (loss, labels) = step(1.0, Some(2.0), &[0., 1., 1., 0., 0., 1., 0., 1.], &[1, 0]);
        tally.add(&loss, &labels).unwrap();
        let (loss, labels) = step(4.0, Some(5.0), &[0., 1., 0., 1.], &[0]);
        tally.add(&loss, &labels).unwrap();
        let means = tally.read(1, 0.1).unwrap();
        assert_eq!(means, Means { loss: 2.0, ce: 0.5, kd: Some(3.0), train_acc: 0.5 });
    }

    #[test]
    fn a_loss_that_is_not_finite_names_its_step() {
        let mut tally = Tally::default();
        for total in [1.0, f32::NAN, f32::INFINITY] {
            let (loss, labels) = step(total, None, &[0., 1., 0., 1.], &[0]);
            tally.add(&loss, &labels).unwrap();
        }
        let message = tally.read(7, 0.1).unwrap_err().to_string();
        assert!(message.starts_with("the loss is NaN (ce 0.5) at epoch 7, step 2, rate 0.1"), "{message}");
    }
}
