//! From values to places on a figure, and where the ticks of an axis are.

/// A linear or logarithmic axis from values to coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    is_log: bool,
}

impl Scale {
    /// A linear axis on which `low` is at `from` and `high` at `to`.
    pub(super) fn linear((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        Self { low, high, from, to, is_log: false }
    }

    /// A logarithmic axis from whole power of ten to whole power of ten around `low` to `high`, both above zero.
    pub(super) fn logarithmic((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let (low, high) = (low.log10().floor(), high.log10().ceil());
        Self { low, high: if high > low { high } else { low + 1.0 }, from, to, is_log: true }
    }

    /// The place of `value`, held within the axis.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.is_log { value.max(f64::MIN_POSITIVE).log10() } else { value };
        let part = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        self.from + part * (self.to - self.from)
    }

    /// Whether `value` is on the axis.
    pub(super) fn holds(&self, value: f64) -> bool {
        let value = if self.is_log { value.log10() } else { value };
        value >= self.low && value <= self.high
    }

    /// About `count` values at round steps, with their labels.
    pub(super) fn ticks(&self, count: usize) -> Vec<(f64, String)> {
        let count = count.max(1) as f64;
        if self.is_log {
            let step = ((self.high - self.low) / count).ceil().max(1.0);
            let powers =
                (0..).map(|n| self.low + f64::from(n) * step).take_while(|power| *power <= self.high);
            return powers.map(|power| (10_f64.powf(power), power_label(power as i32))).collect();
        }
        let step = round_step((self.high - self.low) / count);
        let decimals = (-(step.log10() + 1e-9).floor()).max(0.0) as usize;
        // A step of 2.5 in its first digit needs one digit more.
        let decimals = decimals + usize::from((step * 10_f64.powi(decimals as i32)).fract().abs() > 1e-6);
        let first = (self.low / step - 1e-9).ceil() as i64;
        let last = (self.high / step + 1e-9).floor() as i64;
        (first..=last)
            .map(|n| {
                let value = n as f64 * step;
                (value, minus(&format!("{value:.decimals$}")))
            })
            .collect()
    }
}

/// 1, 2, 2.5 or 5 times a power of ten, the least that is not below `step`.
fn round_step(step: f64) -> f64 {
    let power = 10_f64.powf(step.log10().floor());
    let part = step / power;
    let round = [1.0, 2.0, 2.5, 5.0].into_iter().find(|round| part <= round * (1.0 + 1e-9));
    round.unwrap_or(10.0) * power
}

/// 10 to the `power`, as a number where it is short.
fn power_label(power: i32) -> String {
    match power {
        -3..=-1 => format!("{:.*}", power.unsigned_abs() as usize, 10_f64.powi(power)),
        0..=4 => format!("{}", 10_f64.powi(power)),
        _ => minus(&format!("1e{power}")),
    }
}

/// With a true minus sign.
fn minus(text: &str) -> String {
    text.replace('-', "−")
}

/// The least and the greatest of `values` that are finite; none without one.
pub(super) fn extent(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().filter(|value| value.is_finite()).fold(None, |extent, value| {
        let (low, high) = extent.unwrap_or((value, value));
        Some((low.min(value), high.max(value)))
    })
}

/// `extent` with `part` of its length added at both ends; around a single value, a tenth of it.
pub(super) fn padded((low, high): (f64, f64), part: f64) -> (f64, f64) {
    let length = if high > low { high - low } else { (0.2 * low.abs()).max(1e-3) };
    (low - part * length, high + part * length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(low: f64, high: f64, count: usize) -> Vec<String> {
        let scale = Scale::linear((low, high), (0.0, 100.0));
        scale.ticks(count).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(labels(0.0, 1.0, 4), ["0.00", "0.25", "0.50", "0.75", "1.00"]);
        assert_eq!(labels(0.0, 1.0, 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(0.0, 100.0, 4), ["0", "25", "50", "75", "100"]);
        assert_eq!(labels(-1.0, 1.0, 2), ["−1", "0", "1"]);
        assert_eq!(labels(1.27, 1.43, 4), ["1.30", "1.35", "1.40"]);
    }

    #[test]
    fn powers_of_ten_are_the_ticks_of_a_logarithm() {
        let scale = Scale::logarithmic((2e-5, 3e2), (0.0, 70.0));
        let labels: Vec<String> = scale.ticks(4).into_iter().map(|(_, label)| label).collect();
        assert_eq!(labels, ["1e−5", "0.001", "0.1", "10", "1000"]);
        assert!((scale.at(1e-5)).abs() < 1e-9 && (scale.at(1.0) - 43.75).abs() < 1e-9);
    }

    #[test]
    fn places_stay_on_the_axis() {
        let scale = Scale::linear((0.0, 2.0), (10.0, 0.0));
        assert_eq!((scale.at(0.0), scale.at(1.0), scale.at(5.0), scale.at(-1.0)), (10.0, 5.0, 0.0, 10.0));
        assert!(scale.holds(2.0) && !scale.holds(2.1));
        // A single value still has an axis around it.
        let (low, high) = padded((3.0, 3.0), 0.1);
        assert!(low < 3.0 && high > 3.0);
        assert_eq!(extent([2.0, f64::NAN, -1.0]), Some((-1.0, 2.0)));
        assert_eq!(extent([f64::NAN]), None);
    }
}
