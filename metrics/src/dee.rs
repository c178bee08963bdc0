//! Deep-ensemble equivalent (Ashukha et al. 2020, section 5): how many independently trained networks reach the same
//! value of a metric. The protocol reads it off calibrated NLL.

use crate::{Error, Result};

/// A deep-ensemble equivalent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dee {
    /// The equivalent number of networks, in 1..=Nmax.
    pub value: f64,
    /// Whether the true equivalent may be larger: the value is at or beyond DE-Nmax, where the curve ends. Print
    /// `>= Nmax`.
    pub at_least: bool,
    /// Whether the true equivalent is smaller: the value is worse than DE-1, where the curve begins.
    pub at_most: bool,
}

/// Where `value` lies on `curve`, the same metric (lower is better) of DE-1, DE-2, .. DE-Nmax.
///
/// Walks n = 1, 2, .. while `value` beats DE-n; for the first n it does not beat the equivalent is
/// n + (value - DE_n) / (DE_n - DE_{n-1}), linear between n - 1 and n. Not better than DE-1 gives 1, better than all
/// gives Nmax.
///
/// # Errors
/// Where `curve` is empty, or a number is not finite.
pub fn dee(curve: &[f64], value: f64) -> Result<Dee> {
    if curve.is_empty() || curve.iter().any(|v| !v.is_finite()) {
        return Err(Error::Curve(curve.to_vec()));
    }
    if !value.is_finite() {
        return Err(Error::Value(value));
    }
    let beaten = curve.iter().take_while(|&&ensemble| value < ensemble).count();
    let at_least = beaten == curve.len() || (beaten + 1 == curve.len() && value == curve[beaten]);
    let equivalent = match beaten {
        0 => 1.0,
        all if all == curve.len() => all as f64,
        // DE_n <= value < DE_{n-1}: the slope is not zero.
        n => (n + 1) as f64 + (value - curve[n]) / (curve[n] - curve[n - 1]),
    };
    Ok(Dee { value: equivalent, at_least, at_most: value > curve[0] })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// cNLL of DE-1..DE-4, CIFAR-100, WRN-28-10 (official repository's README, as quoted in the protocol).
    const PUBLISHED: [f64; 4] = [0.789, 0.708, 0.673, 0.655];

    #[test]
    fn published_calibrated_nll_gives_the_protocols_equivalents() {
        let students = [(0.750, "1.48"), (0.760, "1.36"), (0.682, "2.74"), (0.665, "3.44")];
        for (cnll, expected) in students {
            let dee = dee(&PUBLISHED, cnll).unwrap();
            assert_eq!(format!("{:.2}", dee.value), expected, "cnll {cnll}");
            assert!(!dee.at_least && !dee.at_most);
        }
    }

    #[test]
    fn ensembles_are_worth_themselves() {
        for (n, &value) in PUBLISHED.iter().enumerate() {
            let dee = dee(&PUBLISHED, value).unwrap();
            assert_eq!(dee.value, (n + 1) as f64);
            assert_eq!((dee.at_least, dee.at_most), (n == 3, false));
        }
    }

    #[test]
    fn outside_the_curve() {
        let expected = |value, at_least, at_most| Ok(Dee { value, at_least, at_most });
        assert_eq!(dee(&PUBLISHED, 0.9), expected(1.0, false, true));
        assert_eq!(dee(&PUBLISHED, 0.789), expected(1.0, false, false));
        assert_eq!(dee(&PUBLISHED, 0.6), expected(4.0, true, false));
        assert_eq!(dee(&[0.7], 0.8), expected(1.0, false, true));
        assert_eq!(dee(&[0.7], 0.7), expected(1.0, true, false));
        assert_eq!(dee(&[0.7], 0.6), expected(1.0, true, false));
    }

    #[test]
    fn a_curve_that_turns_stops_at_the_first_ensemble_not_beaten() {
        // .62 beats DE-1 and not DE-2, whatever DE-3 is: 2 + (.62 - .6) / (.6 - .7) = 1.8.
        let dee = dee(&[0.7, 0.6, 0.65], 0.62).unwrap();
        assert!((dee.value - 1.8).abs() < 1e-12, "{dee:?}");
        assert!(!dee.at_least);
    }

    #[test]
    fn bad_numbers_are_errors() {
        assert_eq!(dee(&[], 0.5), Err(Error::Curve(vec![])));
        assert!(matches!(dee(&[0.5, f64::NAN], 0.5), Err(Error::Curve(_))));
        assert!(matches!(dee(&[0.5], f64::INFINITY), Err(Error::Value(_))));
    }
}
