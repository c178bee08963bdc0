//! Whole networks: logits, loss, gradients, running statistics; perturbations; checkpoints.

use anyhow::{Context, ensure};
use candle_core::{Device, Tensor};
use methods::Noise;
use methods::perturb;
use nn::{Group, Mode, loss};
use random::{Draws, Stream};

use super::case::{Case, Values};

fn flat(tensor: &Tensor) -> anyhow::Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// Height of square images (.., H, W).
pub(crate) fn image_size(images: &Values) -> anyhow::Result<usize> {
    match images.shape.as_slice() {
        [.., h, w] if h == w && images.shape.len() >= 4 => Ok(*h),
        found => anyhow::bail!("expected square images (.., C, H, W), found {found:?}"),
    }
}

pub(crate) fn check_network(case: &mut Case, device: &Device) -> anyhow::Result<()> {
    let images = case.tensor("in.images")?.clone();
    let network = case.network("network", image_size(&images)?, Some("param."), device)?;
    let images = images.tensor(device)?;
    case.compare("logits_eval", &flat(&network.logits(&images, Mode::Eval)?)?)?;
    let logits = network.logits(&images, Mode::Train { groups: 1 })?;
    case.compare("logits_train", &flat(&logits)?)?;
    let labels = case.tensor("in.labels")?.labels();
    let loss = loss::cross_entropy(&logits, &Tensor::new(labels, device)?)?;
    case.compare_scalar("loss", f64::from(loss.to_scalar::<f32>()?))?;
    let gradients = loss.backward()?;
    let gradient = gradients.get(network.params()).context("the loss has no gradient by the parameters")?;
    let (gradient, buffers) = (flat(gradient)?, network.buffers()?);
    for entry in network.layout().entries() {
        if entry.group == Group::Buffer {
            case.compare(&format!("after.{}", entry.name), &buffers[entry.range()])?;
        } else {
            case.compare(&format!("grad.{}", entry.name), &gradient[entry.range()])?;
        }
    }
    Ok(())
}

pub(crate) fn check_checkpoint(case: &mut Case, device: &Device) -> anyhow::Result<()> {
    let images = case.tensor("in.images")?.clone();
    let network = case.network("network", image_size(&images)?, None, device)?;
    let file = case.folder.join(case.text("file")?);
    let tensors = nn::official::read_pth(&file, case.text("state_dict_key")?)?;
    network.load_state(&tensors)?;
    case.compare("logits_eval", &flat(&network.logits(&images.tensor(device)?, Mode::Eval)?)?)
}

/// Draws that a case recorded, for one step.
pub(crate) struct Recorded {
    pub teacher_index: Vec<usize>,
    pub weights: Option<Values>,
    pub gaussian: Option<Values>,
}

impl Noise for Recorded {
    /// No recorded method draws anything for a whole batch.
    fn draws(&self, name: &str) -> Draws {
        Stream::new(0, name).draws(0, 0)
    }

    fn indices(&self, _name: &str, _groups: usize, _count: usize) -> Vec<usize> {
        self.teacher_index.clone()
    }

    fn uniform(&self, _: &str, _: (f32, f32), shape: &[usize], device: &Device) -> nn::Result<Tensor> {
        recorded(self.weights.as_ref(), "in.w", shape, device)
    }

    fn normal(&self, _name: &str, shape: &[usize], device: &Device) -> nn::Result<Tensor> {
        recorded(self.gaussian.as_ref(), "in.noise", shape, device)
    }
}

fn recorded(values: Option<&Values>, name: &str, shape: &[usize], device: &Device) -> nn::Result<Tensor> {
    match values {
        Some(values) if values.shape == shape => Ok(Tensor::from_vec(values.f32(), shape, device)?),
        Some(values) => {
            Err(nn::Error::State(format!("`{name}` should be {shape:?} and is {:?}", values.shape)))
        }
        None => Err(nn::Error::State(format!("`{name}` is missing"))),
    }
}

pub(crate) fn check_perturbation(case: &mut Case, device: &Device) -> anyhow::Result<()> {
    let values = case.tensor("in.images")?.clone();
    let teachers = [case.network("teacher", image_size(&values)?, Some("teacher."), device)?];
    let (tau, eta) = (case.number("temperature")?, case.number("eta_255")?);
    let noise = Recorded {
        teacher_index: vec![0],
        weights: Some(case.tensor("in.w")?.clone()),
        gaussian: Some(case.tensor("in.noise")?.clone()),
    };
    let images = values.tensor(device)?;
    let ods = perturb::ods(&teachers, &images, &noise, 1, tau)?;
    let per_image = values.values.len() / values.shape.first().copied().unwrap_or(1).max(1);
    ensure!(per_image > 0, "`in.images` is empty");
    case.compare("ods_direction", &flat(&(&ods.directions * (per_image as f64).sqrt())?)?)?;
    case.compare("confidence", &flat(&ods.confidence)?)?;
    case.compare("images_ods", &flat(&ods.perturb(eta)?)?)?;
    case.compare("images_conf_ods", &flat(&ods.perturb_by_confidence(eta)?)?)?;
    case.compare("images_gaussian", &flat(&perturb::gaussian(&images, &noise, eta)?)?)
}
