//! What every device's operators over rows of logits are asked for.

/// Rows of logits, and how many values each has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    pub rows: usize,
    pub classes: usize,
}

impl Rows {
    /// Rows along the last dimension of a tensor.
    pub(crate) fn of(dims: &[usize]) -> Self {
        let classes = dims.last().copied().unwrap_or(1);
        Self { rows: dims.iter().product::<usize>() / classes.max(1), classes }
    }

    #[cfg(any(feature = "cuda", test))]
    pub(crate) fn values(self) -> usize {
        self.rows * self.classes
    }
}

/// Which distance of logits from target probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Divergence {
    pub temperature: f64,
    /// Kullback-Leibler; without, the cross-entropy.
    pub with_entropy: bool,
}
