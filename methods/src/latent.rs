//! What LatentBE students share (Nam et al. 2022): a BatchEnsemble whose subnetworks stay close to one plain network,
//! which is what predicts.
//!
//! The classifier's bias b is shared by the members and inside s: s_j * (W (r_j * x) + b). The engine's BatchEnsemble
//! classifier adds a bias a member outside s; here that is computed from the parameters as s_j * b, and b lives in the
//! place of the first member's bias. The other members' biases stay at the 0 that they start at.

use candle_core::Tensor;
use nn::loss::{blend, cross_entropy, tempered_cross_entropy, tempered_probs};
use nn::member::scale;
use nn::params::{BIAS, Entry, R, S};
use nn::{Error, Mode, NamedTensor, Network, NetworkSpec, Result};

use crate::batch::{Loss, Step};
use crate::distill::teacher_logits;
use crate::optimiser::Optimiser;

/// Logits (M, B, K) of the subnetworks, with gradients by the parameters.
///
/// # Errors
/// [`Error::State`] where the student is no BatchEnsemble; the network's errors otherwise.
pub fn logits(student: &Network, images: &Tensor, mode: Mode) -> Result<Tensor> {
    student.logits_with(&effective(student, student.params())?, images, mode)
}

/// The same without gradients by the parameters.
///
/// # Errors
/// As [`logits`].
pub fn frozen_logits(student: &Network, images: &Tensor, mode: Mode) -> Result<Tensor> {
    student.logits_with(&effective(student, &student.params().as_detached_tensor())?, images, mode)
}

/// `params` with s_j * b in the place of each member's bias.
fn effective(student: &Network, params: &Tensor) -> Result<Tensor> {
    let (bias, s) = classifier(student)?;
    let [members, classes] = bias.shape[..] else {
        return Err(Error::State(format!("`{}` should be (M, K) and is {:?}", bias.name, bias.shape)));
    };
    let shared = params.narrow(0, bias.offset, classes)?.reshape((1, classes))?;
    let s = params.narrow(0, s.offset, s.len())?.reshape((members, classes))?;
    let biases = s.broadcast_mul(&shared)?.flatten_all()?;
    let mut parts = vec![params.narrow(0, 0, bias.offset)?, biases];
    let end = bias.range().end;
    if end < params.dim(0)? {
        parts.push(params.narrow(0, end, params.dim(0)? - end)?);
    }
    Ok(Tensor::cat(&parts, 0)?)
}

/// The classifier's bias (M, K) and s (M, K).
fn classifier(student: &Network) -> Result<(&Entry, &Entry)> {
    let entries = student.layout().entries();
    let bias = entries.iter().find(|entry| entry.name.ends_with(BIAS));
    let stem = bias.and_then(|bias| bias.name.strip_suffix(BIAS));
    let s = stem.and_then(|stem| entries.iter().find(|entry| entry.name.strip_suffix(S) == Some(stem)));
    bias.zip(s).ok_or_else(|| Error::State("LatentBE needs a BatchEnsemble student".to_owned()))
}

/// Lets every r and s start at 1: all subnetworks are the same at first.
///
/// # Errors
/// The network's.
pub fn start(student: &Network) -> Result<()> {
    let mut state = student.state()?;
    for tensor in &mut state {
        if tensor.name.ends_with(R) || tensor.name.ends_with(S) {
            tensor.values.fill(1.0);
        }
    }
    student.load_state(&state)
}

/// The settings of a recipe that [`optimiser`] replaces, and by what.
pub const FIXED: &[(&str, &str)] = &[
    ("lr_fast", "lr times members"),
    ("weight_decay_fast", "weight_decay over members"),
    ("nesterov", "true"),
    ("centre", "1"),
];

/// Nesterov's momentum; r and s at the slow weights' rate, with the term wd/2 * sum (1 - r)^2 / M (and so for s), and
/// gradients, that term included, times M.
///
/// SGD with momentum is linear in the gradients: M times the gradients is M times the rate.
pub fn optimiser(recipe: Optimiser, members: usize) -> Optimiser {
    let members = members as f64;
    let mut settings = recipe.settings;
    settings.nesterov = true;
    settings.weight_decay_fast = settings.weight_decay / members;
    Optimiser { settings, lr_fast: recipe.lr * members, centre: 1.0, ..recipe }
}

/// (1 - alpha) * CE + alpha * tau^2 * H(softmax(S_j / tau), softmax(T_j / tau)), teacher j for subnetwork j, both terms
/// on `images`: the student runs once. H(p, q) = -sum_k q_k ln p_k with no gradient through q.
///
/// # Errors
/// Where shapes do not fit.
pub fn loss(step: &Step<'_>, images: &Tensor, labels: &Tensor, alpha: f64, tau: f64) -> Result<Loss> {
    let target = tempered_probs(&teacher_logits(step.teachers, images)?, tau)?;
    let logits = logits(step.student, images, Mode::Train { groups: step.groups })?;
    let ce = cross_entropy(&logits, labels)?;
    let kd = (tempered_cross_entropy(&target, &logits, tau)? * (tau * tau))?;
    let total = blend(&ce, &kd, (1.0 - alpha, alpha))?;
    Ok(Loss { total, ce: ce.detach(), kd: Some(kd.detach()), logits: logits.detach() })
}

/// The plain network with the weights W o (s_mean r_mean^T) and the classifier bias s_mean * b, means over members;
/// norms and running statistics are the student's.
///
/// # Errors
/// The networks', and [`Error::State`] where the student is no BatchEnsemble.
pub fn fold(student: &Network) -> Result<Network> {
    classifier(student)?;
    let state = student.state()?;
    let plain = NetworkSpec { members: None, ..student.spec().clone() };
    let network = Network::new(&plain, 0, student.device())?;
    let folded: Vec<NamedTensor> =
        network.layout().entries().iter().map(|entry| folded(entry, &state)).collect::<Result<_>>()?;
    network.load_state(&folded)?;
    Ok(network)
}

/// The tensor of a plain network's `entry`, from a student's `state`.
fn folded(entry: &Entry, state: &[NamedTensor]) -> Result<NamedTensor> {
    let of = |name: &str| {
        let found = state.iter().find(|tensor| tensor.name == name);
        found.ok_or_else(|| Error::State(format!("LatentBE: the student has no `{name}`")))
    };
    let mut values = match entry.name.strip_suffix(".bias") {
        Some(stem) if of(&format!("{stem}{BIAS}")).is_ok() => {
            let s = mean(of(&format!("{stem}{S}"))?);
            of(&format!("{stem}{BIAS}"))?.values.iter().zip(&s).map(|(bias, s)| s * bias).collect()
        }
        _ => of(&entry.name)?.values.clone(),
    };
    if let Some(stem) = entry.name.strip_suffix(".weight")
        && let (Ok(r), Ok(s)) = (of(&format!("{stem}{R}")), of(&format!("{stem}{S}")))
    {
        scale(&mut values, &mean(r), &mean(s));
    }
    Ok(NamedTensor { name: entry.name.clone(), shape: entry.shape.clone(), values })
}

/// The mean over members of a tensor (M, channels).
fn mean(tensor: &NamedTensor) -> Vec<f32> {
    let members = tensor.shape.first().copied().unwrap_or(1).max(1);
    let channels = (tensor.values.len() / members).max(1);
    let mut sums = vec![0.0_f32; channels];
    for row in tensor.values.chunks_exact(channels) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
    sums.into_iter().map(|sum| sum / members as f32).collect()
}
