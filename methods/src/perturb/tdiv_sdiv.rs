//! TDiv-SDiv (Nam et al. 2022): towards images where two teachers differ and their students do not.

use candle_core::Tensor;
use nn::loss::{tempered_cross_entropy, tempered_probs};
use nn::{Error, Mode, Network, Result};

use super::ascend;

/// clip(x + eta / 255 * sqrt(D) * g / ||g||_2), g the gradient by x of H(t_a, t_b) - H(s_a, s_b).
///
/// H(p, q) = -sum_k q_k ln p_k with no gradient through q; t_j teacher j in eval mode and s_j the student's logits
/// (M, B, K) from `student`, which must be in eval mode too, all at temperature 1. `images` (B, C, H, W) in [0, 1], `eta`
/// in 1/255, `pair` two members.
///
/// # Errors
/// [`Error::State`] where the pair names no teacher or subnetwork; the networks' errors otherwise.
pub fn tdiv_sdiv(
    teachers: &[Network],
    student: impl Fn(&Tensor) -> Result<Tensor>,
    images: &Tensor,
    pair: (usize, usize),
    eta: f64,
) -> Result<Tensor> {
    ascend(images, eta, |x| {
        let teacher = |index: usize| {
            let teacher = teachers.get(index).ok_or_else(|| {
                Error::State(format!("TDiv-SDiv: there is no teacher {index} among {}", teachers.len()))
            })?;
            teacher.frozen_logits(x, Mode::Eval)
        };
        let difference = disagreement(&teacher(pair.0)?, &teacher(pair.1)?)?;
        let students = student(x)?;
        let subnetwork = |index: usize| students.narrow(0, index, 1);
        Ok((difference - disagreement(&subnetwork(pair.0)?, &subnetwork(pair.1)?)?)?)
    })
}

/// The sum over examples of H(softmax p, softmax q), of logits (1, B, K).
fn disagreement(p: &Tensor, q: &Tensor) -> Result<Tensor> {
    let examples = p.dim(1)? as f64;
    Ok((tempered_cross_entropy(&tempered_probs(q, 1.0)?, p, 1.0)? * examples)?)
}
