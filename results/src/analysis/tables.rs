//! The paper's figures as tables, from stored analyses and predictions: one [`Sheet`](crate::sheet::Sheet) an experiment.

mod confidence;
mod diversity;
mod jacobian;
mod remainder;
mod source;
mod transfer;

pub use confidence::confidence;
pub use diversity::diversity;
pub(crate) use diversity::{BINS, Images, bin_kl};
pub use jacobian::jacobian;
pub use remainder::remainder;
pub use source::Source;
pub use transfer::transfer;

use crate::check::Interval;
use crate::table::Cell;

/// Mean and standard deviation over seeds, as text.
fn spread(values: &[f64], decimals: usize) -> String {
    match Cell::over_seeds(values, []) {
        Some(Cell { mean, std: Some(std), .. }) => format!("{mean:.decimals$} ± {std:.decimals$}"),
        Some(Cell { mean, .. }) => format!("{mean:.decimals$}"),
        None => String::new(),
    }
}

/// The mean over seeds, as text.
fn average(values: &[f64], decimals: usize) -> String {
    mean(values).map(|mean| format!("{mean:.decimals$}")).unwrap_or_default()
}

fn mean(values: &[f64]) -> Option<f64> {
    Cell::over_seeds(values, []).map(|cell| cell.mean)
}

/// The standard deviation over seeds; none with one.
fn deviation(values: &[f64]) -> Option<f64> {
    Cell::over_seeds(values, []).and_then(|cell| cell.std)
}

/// What the 95% interval (Student's t over seeds) of differences says: one of two words, or `inconclusive` where it holds
/// zero or there is one seed.
fn verdict(differences: &[f64], positive: &'static str, negative: &'static str) -> &'static str {
    match Interval::of(differences) {
        Some(interval) if interval.low > 0.0 => positive,
        Some(interval) if interval.high < 0.0 => negative,
        _ => "inconclusive",
    }
}

/// The value below which a part of `sorted` lies, interpolated; none without values.
pub(crate) fn quantile(sorted: &[f64], part: f64) -> Option<f64> {
    let place = part * sorted.len().checked_sub(1)? as f64;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    Some(sorted[below] + place.fract() * (sorted[above] - sorted[below]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), Some(2.0));
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[1.0], 0.25), Some(1.0));
        assert_eq!(quantile(&[], 0.25), None);
    }

    /// Differences .1 and .3: mean .2, error .1, t of one degree of freedom 12.7: the interval holds zero.
    #[test]
    fn few_seeds_decide_only_clear_differences() {
        assert_eq!(verdict(&[0.1, 0.3], "more", "less"), "inconclusive");
        assert_eq!(verdict(&[0.2, 0.2001], "more", "less"), "more");
        assert_eq!(verdict(&[-0.2, -0.2001], "more", "less"), "less");
        assert_eq!(verdict(&[0.2], "more", "less"), "inconclusive");
    }
}
