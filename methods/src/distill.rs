//! The parts that distilling methods share: the teachers' targets, the student's passes, the weighted sum.

use candle_core::Tensor;
use nn::loss::{blend, cross_entropy, tempered_kl, tempered_probs};
use nn::{Beside, Error, Mode, Network, Result};

use crate::batch::{Batch, Loss, Step};
use crate::perturb::Perturbation;

/// Logits (M, B, K) of the teachers, one plain network each, in eval mode and without any gradient.
///
/// # Errors
/// [`Error::State`] where there is no teacher; the network's errors otherwise.
pub fn teacher_logits(teachers: &[Network], images: &Tensor) -> Result<Tensor> {
    Ok(Tensor::cat(&teachers_beside(teachers, images)?.finish()?, 0)?)
}

/// Starts what [`teacher_logits`] gives, beside the student's passes.
fn teachers_beside(teachers: &[Network], images: &Tensor) -> Result<Beside> {
    if teachers.is_empty() {
        return Err(Error::State("this method distills, but there are no teachers".to_owned()));
    }
    Beside::start(teachers, images, Mode::Eval)
}

/// Holds the teachers to one for each subnetwork.
///
/// # Errors
/// [`Error::State`] where there are more or fewer.
pub fn check_one_to_one(step: &Step<'_>) -> Result<()> {
    if step.teachers.len() == step.student.members() {
        return Ok(());
    }
    Err(Error::State(format!(
        "one-to-one distillation needs a teacher for each of {} subnetworks and has {}",
        step.student.members(),
        step.teachers.len()
    )))
}

/// What the networks of a step say: logits, of a method that distills on images that it perturbs or on clean ones.
pub struct Passes {
    /// The student's on clean images (M, B, K).
    pub clean: Tensor,
    /// The student's on the perturbed images, or the clean ones again (M, B, K).
    pub distilled: Tensor,
    /// The teachers' on the same images, without any gradient (teachers, B, K).
    pub teachers: Tensor,
}

/// The passes of a step. Without a `perturbation` the student runs once; with one it runs twice, clean first, each pass with its
/// own batch statistics and each updating the running ones. The teachers' passes run beside the student's.
///
/// # Errors
/// [`Error::State`] where there is no teacher; the perturbation's and the networks' errors otherwise.
pub fn passes(batch: &Batch, step: &Step<'_>, perturbation: Option<&dyn Perturbation>) -> Result<Passes> {
    let mode = Mode::Train { groups: step.groups };
    let perturbed = perturbation.map(|by| by.perturb(batch, &step.context())).transpose()?;
    let teachers = teachers_beside(step.teachers, perturbed.as_ref().unwrap_or(&batch.images))?;
    let clean = step.student.logits(&batch.images, mode)?;
    let distilled = match &perturbed {
        Some(images) => step.student.logits(images, mode)?,
        None => clean.clone(),
    };
    Ok(Passes { clean, distilled, teachers: Tensor::cat(&teachers.finish()?, 0)? })
}

/// (1 - alpha) * CE + alpha * tau^2 * KL(targets || student), one-to-one: teacher j for subnetwork j.
///
/// CE is taken on the clean images, KD on the perturbed ones where there is a `perturbation` ([`passes`]).
///
/// # Errors
/// Where the teachers are not as many as the subnetworks, or shapes do not fit; the perturbation's.
pub fn one_to_one(
    batch: &Batch,
    step: &Step<'_>,
    perturbation: Option<&dyn Perturbation>,
    alpha: f64,
    tau: f64,
) -> Result<Loss> {
    check_one_to_one(step)?;
    let Passes { clean, distilled, teachers } = passes(batch, step, perturbation)?;
    weighted(batch, clean, &distilled, &tempered_probs(&teachers, tau)?, alpha, tau)
}

/// The weighted sum of cross-entropy on `logits` and divergence of `distilled` from the `target` probabilities.
///
/// # Errors
/// Where shapes do not fit.
pub fn weighted(
    batch: &Batch,
    logits: Tensor,
    distilled: &Tensor,
    target: &Tensor,
    alpha: f64,
    tau: f64,
) -> Result<Loss> {
    let ce = cross_entropy(&logits, &batch.labels)?;
    let kd = (tempered_kl(target, distilled, tau)? * (tau * tau))?;
    let total = blend(&ce, &kd, (1.0 - alpha, alpha))?;
    Ok(Loss { total, ce: ce.detach(), kd: Some(kd.detach()), logits: logits.detach() })
}

/// Cross-entropy alone, on one clean pass.
///
/// # Errors
/// Where shapes do not fit.
pub fn cross_entropy_only(batch: &Batch, step: &Step<'_>) -> Result<Loss> {
    let logits = step.student.logits(&batch.images, Mode::Train { groups: step.groups })?;
    let total = cross_entropy(&logits, &batch.labels)?;
    Ok(Loss { ce: total.detach(), total, kd: None, logits: logits.detach() })
}
