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

    /// A value in the column's unit and with its digits; zero has no sign.
    pub(crate) fn text(self, value: f64) -> String {
        let text = format!("{:.*}", self.decimals(), value * self.scale());
        match text.strip_prefix('-') {
            Some(zero) if is_zero(zero) => zero.to_owned(),
            _ => text,
        }
    }

    /// A difference with its sign; without one where all its digits are zero.
    pub(crate) fn signed(self, difference: f64) -> String {
        let size = self.text(difference.abs());
        if is_zero(&size) {
            size
        } else if difference < 0.0 {
            format!("-{size}")
        } else {
            format!("+{size}")
        }
    }
}

fn is_zero(digits: &str) -> bool {
    digits.chars().all(|c| c == '0' || c == '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_columns_index_is_its_discriminant() {
        assert!(Column::ALL.iter().enumerate().all(|(index, column)| *column as usize == index));
    }

    #[test]
    fn zero_has_no_sign() {
        assert_eq!(Column::Nll.signed(-0.0004), "0.000");
        assert_eq!(Column::Nll.signed(-0.0006), "-0.001");
        assert_eq!(Column::Acc.signed(0.0125), "+1.25");
        // A perfect prediction's NLL is -ln(1 + 1e-12), just under zero.
        assert_eq!(Column::Nll.text(-1e-12), "0.000");
    }
}
