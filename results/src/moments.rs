//! Mean and spread of a few numbers.

/// The mean of `values`; NaN without any.
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The sample variance (n - 1); none of fewer than two values.
pub(crate) fn variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values);
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (values.len() >= 2).then(|| squares / (values.len() as f64 - 1.0))
}

/// The sample standard deviation; none of fewer than two values.
pub(crate) fn deviation(values: &[f64]) -> Option<f64> {
    variance(values).map(f64::sqrt)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 1, 2, 4: mean 7/3, squares 16/9 + 1/9 + 25/9 = 42/9, over n - 1 = 2: 7/3.
    #[test]
    fn moments_are_those_of_a_sample() {
        assert!((mean(&[1.0, 2.0, 4.0]) - 7.0 / 3.0).abs() < 1e-15);
        assert!((variance(&[1.0, 2.0, 4.0]).unwrap() - 7.0 / 3.0).abs() < 1e-15);
        assert_eq!(deviation(&[1.0, 3.0]), Some(2.0_f64.sqrt()));
        assert_eq!((variance(&[0.1]), deviation(&[])), (None, None));
    }
}
