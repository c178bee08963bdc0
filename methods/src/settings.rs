//! Checks that the methods' settings share. Each tells all that is wrong, a line for each.

type Checked = Result<(), String>;

/// alpha in [0, 1], tau positive and finite.
pub(crate) fn check_distillation(alpha: f64, tau: f64) -> Checked {
    all([check_alpha(alpha), check_tau(tau)])
}

/// The same, and eta in [0, 255] steps of 1/255.
pub(crate) fn check_perturbed(alpha: f64, tau: f64, eta: f64) -> Checked {
    all([check_alpha(alpha), check_tau(tau), check_eta(eta)])
}

fn check_alpha(alpha: f64) -> Checked {
    let why = || format!("alpha = {alpha} is a weight: write a number from 0 to 1");
    (0.0..=1.0).contains(&alpha).then_some(()).ok_or_else(why)
}

fn check_tau(tau: f64) -> Checked {
    let why = || format!("tau = {tau} is a temperature: write a number above 0");
    (tau > 0.0 && tau.is_finite()).then_some(()).ok_or_else(why)
}

fn check_eta(eta: f64) -> Checked {
    let why = || format!("eta = {eta} is a step size in 1/255: write a number from 0 to 255");
    (0.0..=255.0).contains(&eta).then_some(()).ok_or_else(why)
}

fn all<const N: usize>(checks: [Checked; N]) -> Checked {
    let wrong: Vec<String> = checks.into_iter().filter_map(Result::err).collect();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}
