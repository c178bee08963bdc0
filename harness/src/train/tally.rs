//! Losses and accuracies of an epoch. Each step leaves four numbers on the device; they are read once an epoch, so that
//! a GPU never waits for the host.

use anyhow::{anyhow, bail, ensure};
use candle_core::{Device, Tensor};
use methods::Loss;
use serde::{Deserialize, Serialize};

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

/// A [`Tally`] in host memory, for checkpoints within an epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostTally {
    members: usize,
    has_kd: bool,
    images: Vec<usize>,
    steps: Vec<[f32; 4]>,
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
    /// Accuracy of the steps' logits (the clean pass's, where there is one) on the training images, over the M*N rows of
    /// the epoch.
    pub train_acc: f64,
}

impl Tally {
    /// Adds a step: its loss and the labels (B,) of its batch.
    pub fn add(&mut self, loss: &Loss, labels: &Tensor) -> nn::Result<()> {
        let (members, images, _) = loss.logits.dims3()?;
        let losses = [&loss.total, &loss.ce];
        self.steps.push(nn::loss::tally(losses, loss.kd.as_ref(), &loss.logits, labels)?);
        self.images.push(images);
        self.members = members;
        self.has_kd = loss.kd.is_some();
        Ok(())
    }

    /// The steps so far.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there is no step yet.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Reads the last step's loss at once, for devices that do not wait for it.
    ///
    /// # Errors
    /// Where it is not finite: [`Tally::read`]'s message.
    pub fn check_last(&self, epoch: usize, lr: f64) -> anyhow::Result<()> {
        match self.steps.last() {
            Some(step) => self.check(self.len() - 1, &numbers(step.to_vec1()?)?, epoch, lr),
            None => Ok(()),
        }
    }

    /// A copy in host memory.
    ///
    /// # Errors
    /// The device's.
    pub fn to_host(&self) -> anyhow::Result<HostTally> {
        let steps = self.all()?;
        Ok(HostTally { members: self.members, has_kd: self.has_kd, images: self.images.clone(), steps })
    }

    /// All steps' numbers in one transfer.
    fn all(&self) -> anyhow::Result<Vec<[f32; 4]>> {
        if self.is_empty() {
            return Ok(Vec::new());
        }
        Tensor::stack(&self.steps, 0)?.to_vec2::<f32>()?.into_iter().map(numbers).collect()
    }

    /// The tally that [`Tally::to_host`] copied.
    ///
    /// # Errors
    /// The device's, and where the copy has not one number of images a step.
    pub fn from_host(host: &HostTally, device: &Device) -> anyhow::Result<Self> {
        let HostTally { members, has_kd, images, steps } = host;
        ensure!(images.len() == steps.len(), "{} steps have {} numbers of images", steps.len(), images.len());
        let steps = steps.iter().map(|step| Tensor::new(step, device)).collect::<Result<_, _>>()?;
        Ok(Self { steps, images: images.clone(), members: *members, has_kd: *has_kd })
    }

    fn check(
        &self,
        index: usize,
        &[loss, ce, kd, _]: &[f32; 4],
        epoch: usize,
        lr: f64,
    ) -> anyhow::Result<()> {
        if !loss.is_finite() {
            let kd = if self.has_kd { format!(", kd {kd}") } else { String::new() };
            bail!(
                "the loss is {loss} (ce {ce}{kd}) at epoch {epoch}, step {}, rate {lr}; \
                 lower the rate (teacher.lr, student.lr, recipe.<method>.lr) or lengthen the warm-up (schedule.milestones)",
                index + 1
            );
        }
        Ok(())
    }

    /// Reads the epoch's numbers.
    ///
    /// # Errors
    /// Where a loss is not finite, naming the first such step of `epoch` and its parts; `lr` is the epoch's rate.
    pub fn read(&self, epoch: usize, lr: f64) -> anyhow::Result<Means> {
        let mut sums = [0.0_f64; 4];
        let mut total = 0.0;
        for (index, (step, images)) in self.all()?.into_iter().zip(&self.images).enumerate() {
            self.check(index, &step, epoch, lr)?;
            let [loss, ce, kd, correct] = step;
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

/// What a step left.
fn numbers(step: Vec<f32>) -> anyhow::Result<[f32; 4]> {
    step.try_into().map_err(|found: Vec<f32>| anyhow!("a step left {} numbers, not 4", found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

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

        let copy = toml::to_string(&tally.to_host().unwrap()).unwrap();
        let copy = Tally::from_host(&toml::from_str(&copy).unwrap(), &Device::Cpu).unwrap();
        assert_eq!((copy.read(1, 0.1).unwrap(), copy.len()), (means, 2));
    }

    #[test]
    fn a_loss_that_is_not_finite_names_its_step() {
        let mut tally = Tally::default();
        for total in [1.0, f32::NAN, f32::INFINITY] {
            let (loss, labels) = step(total, None, &[0., 1., 0., 1.], &[0]);
            tally.add(&loss, &labels).unwrap();
            assert_eq!(tally.check_last(7, 0.1).is_ok(), total.is_finite());
        }
        let message = tally.read(7, 0.1).unwrap_err().to_string();
        assert!(message.starts_with("the loss is NaN (ce 0.5) at epoch 7, step 2, rate 0.1"), "{message}");
    }
}
