//! Temperature scaling of averaged probabilities (Guo et al. 2017, applied as Ashukha et al. 2020 ask: after
//! averaging over members).
//!
//! T minimises, on the validation split, the mean of -ln(1e-12 + softmax(ln(1e-12 + p) / T)_y). The official code
//! runs a simplex search from T = 1; here a grid finds the lowest valley and golden section its bottom, so that the
//! result does not depend on a start.

use libm::{exp, log};

use crate::probs::{EPSILON, softmax};
use crate::{Probs, Result};

/// The range of T that is searched: predictions so extreme that they need more have nothing to calibrate.
pub const TEMPERATURE_RANGE: (f64, f64) = (0.01, 100.0);

/// Grid points on each side of T = 1, equally spaced in ln T.
const GRID_HALF: i32 = 12;

/// A smaller gain in the objective is rounding.
const GAIN: f64 = 1e-12;

/// Golden section stops at this width in ln T; the objective is then flat to about its square.
const WIDTH: f64 = 1e-6;

/// The temperature in [`TEMPERATURE_RANGE`] that minimises the protocol's objective on the validation split `val`
/// (N, K). Of temperatures that are equally good (to 1e-12) the grid prefers the one nearest to 1, so that predictions
/// which T cannot change leave it at 1.
///
/// # Errors
/// Where the labels are not one class of `val` an example.
pub fn fit_temperature(val: &Probs, labels: &[u32]) -> Result<f64> {
    let objective = Objective::new(val, labels)?;
    let at = |ln_t: f64| objective.at(exp(ln_t));
    let step = log(TEMPERATURE_RANGE.1) / f64::from(GRID_HALF);
    let mut best = (0.0, at(0.0));
    let outwards = (1..=GRID_HALF).flat_map(|i| [-i, i]);
    for ln_t in outwards.map(|i| f64::from(i) * step) {
        let value = at(ln_t);
        if value < best.1 - GAIN {
            best = (ln_t, value);
        }
    }
    let low = (best.0 - step).max(log(TEMPERATURE_RANGE.0));
    let high = (best.0 + step).min(log(TEMPERATURE_RANGE.1));
    let refined = golden_section(at, low, high);
    let ln_t = if refined.1 < best.1 - GAIN { refined.0 } else { best.0 };
    Ok(exp(ln_t).clamp(TEMPERATURE_RANGE.0, TEMPERATURE_RANGE.1))
}

/// Where `f` is lowest in [low, high], and its value there; exact to [`WIDTH`] where `f` has one valley.
fn golden_section(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> (f64, f64) {
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    let (mut left, mut right) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut f_left, mut f_right) = (f(left), f(right));
    while high - low > WIDTH {
        if f_left <= f_right {
            (high, right, f_right) = (right, left, f_left);
            left = high - ratio * (high - low);
            f_left = f(left);
        } else {
            (low, left, f_left) = (left, right, f_right);
            right = low + ratio * (high - low);
            f_right = f(right);
        }
    }
    if f_left <= f_right { (left, f_left) } else { (right, f_right) }
}

/// The function of T that [`fit_temperature`] minimises, with its logarithms taken once.
struct Objective {
    /// ln(1e-12 + p), (N, K).
    logits: Vec<f64>,
    labels: Vec<usize>,
    classes: usize,
}

impl Objective {
    fn new(val: &Probs, labels: &[u32]) -> Result<Self> {
        let labels = val.labelled(labels)?.map(|(_, label)| label).collect();
        let logits = val.values().iter().map(|p| log(EPSILON + p)).collect();
        Ok(Self { logits, labels, classes: val.classes() })
    }

    fn at(&self, temperature: f64) -> f64 {
        let mut probs = vec![0.0; self.classes];
        let examples = self.logits.chunks_exact(self.classes).zip(&self.labels);
        let sum: f64 = examples
            .map(|(row, &label)| {
                softmax(row.iter().map(|z| z / temperature), &mut probs);
                -log(EPSILON + probs[label])
            })
            .sum();
        sum / self.labels.len() as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recovers_the_temperature_that_made_the_labels() {
        // Confidence .9 but right 3 times of 4: the optimum has softmax((ln .9, ln .1) / T)_0 = .75,
        // so T = ln 9 / ln 3 = 2.
        let probs = Probs::new(4, 2, [0.9, 0.1].repeat(4)).unwrap();
        let t = fit_temperature(&probs, &[0, 0, 0, 1]).unwrap();
        assert!((t - 2.0).abs() < 1e-5, "{t}");
        // Confidence .6 but right 9 times of 10: T = ln 1.5 / ln 9.
        let probs = Probs::new(10, 2, [0.6, 0.4].repeat(10)).unwrap();
        let t = fit_temperature(&probs, &[0, 0, 0, 0, 0, 1, 0, 0, 0, 0]).unwrap();
        assert!((t - 1.5_f64.ln() / 9.0_f64.ln()).abs() < 1e-5, "{t}");
    }

    #[test]
    fn stays_in_its_range() {
        // Always right: colder is better without end. Wrong more often than right: hotter is.
        let probs = Probs::new(2, 2, vec![0.6, 0.4, 0.4, 0.6]).unwrap();
        let cold = fit_temperature(&probs, &[0, 1]).unwrap();
        assert!((TEMPERATURE_RANGE.0..0.03).contains(&cold), "{cold}");
        let hot = fit_temperature(&probs, &[1, 0]).unwrap();
        assert!((hot - TEMPERATURE_RANGE.1).abs() < 1e-3, "{hot}");
    }

    #[test]
    fn uniform_predictions_leave_it_at_one() {
        let probs = Probs::new(2, 2, vec![0.5; 4]).unwrap();
        assert_eq!(fit_temperature(&probs, &[0, 1]).unwrap(), 1.0);
    }
}
