//! How far a mean over few seeds can be trusted.

use crate::moments::{deviation, mean};

/// 97.5% quantiles of Student's t with 1, 2, .. degrees of freedom; the last stands for all beyond, which is too wide
/// rather than too narrow.
const T: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

/// The 95% confidence interval of a mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Values behind it, at least 2.
    pub count: usize,
}

impl Interval {
    /// The interval of the mean of `values`, taken as normal; none of fewer than two.
    pub fn of(values: &[f64]) -> Option<Self> {
        let deviation = deviation(values)?;
        let n = values.len() as f64;
        Some(Self::around(mean(values), deviation / n.sqrt(), values.len()))
    }

    /// The interval of the distance of the mean of `values` from one `published` number, which is taken to have the
    /// spread of a mean over `seeds` values like these; none of fewer than two values.
    pub fn from_published(values: &[f64], published: f64, seeds: usize) -> Option<Self> {
        let deviation = deviation(values)?;
        let error = deviation * (1.0 / values.len() as f64 + 1.0 / seeds.max(1) as f64).sqrt();
        Some(Self::around(mean(values) - published, error, values.len()))
    }

    fn around(mean: f64, error: f64, count: usize) -> Self {
        let half = error * students_t((count - 1) as f64);
        Self { mean, low: mean - half, high: mean + half, count }
    }
}

/// The 97.5% quantile of Student's t with `degrees` of freedom, at least 1; rounded down to whole ones.
pub(crate) fn students_t(degrees: f64) -> f64 {
    T[(degrees.max(1.0) as usize - 1).min(T.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1, 2, 3: standard deviation 1, error 1 / sqrt 3, t of 2 degrees of freedom 4.303. Against one published seed the
    /// error is sqrt(1/3 + 1).
    #[test]
    fn intervals_are_students() {
        let interval = Interval::of(&[1.0, 2.0, 3.0]).unwrap();
        assert!((interval.high - (2.0 + 4.303 / 3.0_f64.sqrt())).abs() < 1e-12, "{interval:?}");
        assert!((interval.low + interval.high - 4.0).abs() < 1e-12, "{interval:?}");
        let published = Interval::from_published(&[1.0, 2.0, 3.0], 1.5, 1).unwrap();
        assert!((published.high - (0.5 + 4.303 * (4.0_f64 / 3.0).sqrt())).abs() < 1e-12, "{published:?}");
        assert_eq!(Interval::of(&[1.0]), None);
        assert_eq!(Interval::of(&[0.5; 20]).unwrap().high, 0.5);
        assert_eq!([0.0, 1.0, 2.9, f64::INFINITY].map(students_t), [12.706, 12.706, 4.303, 2.228]);
    }
}
