//! The columns of the tables.

/// A measured column, in the tables' order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// Accuracy on test, a fraction (shown in percent).
    Acc,
    /// Negative log-likelihood, nats.
    Nll,
    /// Brier score, summed over classes.
    Bs,
    /// Expected calibration error.
    Ece,
    /// Negative log-likelihood after temperature scaling.
    Cnll,
    /// Brier score after temperature scaling.
    Cbs,
    /// Expected calibration error after temperature scaling.
    Cece,
    /// Deep-ensemble equivalent on [`Column::Cnll`].
    Dee,
    /// Mean pairwise KL between members on test, nats.
    Kld,
    /// Mean pairwise disagreement of the members' top classes on test, a fraction (shown in percent).
    Dis,
}

impl Column {
    /// Every column, in order: the index of a column is its discriminant.
    pub const ALL: [Self; 10] = [
        Self::Acc,
        Self::Nll,
        Self::Bs,
        Self::Ece,
        Self::Cnll,
        Self::Cbs,
        Self::Cece,
        Self::Dee,
        Self::Kld,
        Self::Dis,
    ];

    /// How many columns, from the first, the table of results has for people: it is as wide as a terminal. The others are in
    /// its CSV and in comparisons.
    pub const SHOWN: usize = 9;

    /// The name in commands and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Acc => "acc",
            Self::Nll => "nll",
            Self::Bs => "bs",
            Self::Ece => "ece",
            Self::Cnll => "cnll",
            Self::Cbs => "cbs",
            Self::Cece => "cece",
            Self::Dee => "dee",
            Self::Kld => "kld",
            Self::Dis => "dis",
        }
    }

    /// The name in tables for people.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Acc => "ACC %",
            Self::Nll => "NLL",
            Self::Bs => "BS",
            Self::Ece => "ECE",
            Self::Cnll => "cNLL",
            Self::Cbs => "cBS",
            Self::Cece => "cECE",
            Self::Dee => "DEE",
            Self::Kld => "KLD",
            Self::Dis => "DIS %",
        }
    }

    /// What a value is multiplied by in tables for people.
    pub fn scale(self) -> f64 {
        if matches!(self, Self::Acc | Self::Dis) { 100.0 } else { 1.0 }
    }

    /// Whether more is better; `None` where neither is.
    pub fn more_is_better(self) -> Option<bool> {
        match self {
            Self::Acc | Self::Dee => Some(true),
            Self::Nll | Self::Bs | Self::Ece | Self::Cnll | Self::Cbs | Self::Cece => Some(false),
            Self::Kld | Self::Dis => None,
        }
    }

    /// Digits after the point in tables for people.
    pub fn decimals(self) -> usize {
        match self {
            Self::Acc | Self::Dee | Self::Dis => 2,
            _ => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_columns_index_is_its_discriminant() {
        assert!(Column::ALL.iter().enumerate().all(|(index, column)| *column as usize == index));
    }
}
