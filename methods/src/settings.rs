//! Checks that the methods' settings share.

/// alpha in [0, 1], tau positive and finite.
pub(crate) fn check_distillation(alpha: f64, tau: f64) -> Result<(), String> {
    if !(0.0..=1.0).contains(&alpha) {
        return Err(format!("alpha = {alpha} is a weight: write a number from 0 to 1"));
    }
    if !(tau > 0.0 && tau.is_finite()) {
        return Err(format!("tau = {tau} is a temperature: write a number above 0"));
    }
    Ok(())
}

/// eta in [0, 255] steps of 1/255.
pub(crate) fn check_eta(eta: f64) -> Result<(), String> {
    if (0.0..=255.0).contains(&eta) {
        Ok(())
    } else {
        Err(format!("eta = {eta} is a step size in 1/255: write a number from 0 to 255"))
    }
}
