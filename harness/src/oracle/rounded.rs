//! How far from a recorded number one may be that was computed in tf32 or bf16.
//!
//! Both keep sums in f32 and round the factors of convolutions, bf16 the feature maps too. bf16 does so to 8 bits: by at most
//! u = 2^-8 of their size. In TF32 the tensor cores read 11 bits of a factor, and cuDNN gives them factors as they are: what is cut
//! off is up to 2^-10, and all to one side, so that it adds up over factors where roundings add up by their root. That is as much
//! as roundings by u = 2^-9. What follows depends on what comes after the rounding:
//!
//! * *Smooth* numbers (a layer's output and gradients, logits, loss, statistics, confidence) sum up roundings that are
//!   independent. The recorded networks have about six convolutions in a row, of two rounded factors each: sqrt(12) u,
//!   about 4 u of the largest value.
//! * *Kinked* numbers (a network's gradients and whatever moves along them) jump where a ReLU's input is within rounding of
//!   zero: for a share of about u of them in each layer, and a jump is as large as the gradient there. Independent jumps of
//!   a share u move a gradient by sqrt(u) of its length, those of six layers, there and back, by about 4 sqrt(u). Single
//!   entries may be off by anything, so these are measured by their Euclidean length, all parameters together. Trained
//!   parameters are measured by the way that they went, in steps each of which begins where the last one erred to: twice
//!   that. A perturbed image is kinked in its step alone, a few percent of its length: 4 u.
//!
//! Metrics, schedules, Gaussian noise and the classifier alone are not rounded and keep the recorded tolerance.

use nn::Precision;

/// How a number is held to the recorded one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reading {
    /// The largest error, within the case's own tolerance.
    Recorded,
    /// The largest error, within this.
    Largest(f64),
    /// The distance over the length, of all numbers of this name together, within this.
    Together(&'static str, f64),
}

/// The reading of the number `name` of a case of `kind`.
pub(crate) fn reading(precision: Precision, kind: &str, name: &str) -> Reading {
    let bits = match precision {
        Precision::F32 => return Reading::Recorded,
        Precision::Tf32 => 9,
        Precision::Bf16 => 8,
    };
    let unit = 0.5_f64.powi(bits);
    let (smooth, kinked) = (4.0 * unit, 4.0 * unit.sqrt());
    match (kind, name) {
        ("network", _) if name.starts_with("grad.") => Reading::Together("gradient", kinked),
        ("train", _) if name.contains("running_") => Reading::Together("running statistics", kinked),
        ("train", _) if name.starts_with("student.") => Reading::Together("parameters", 2.0 * kinked),
        ("train", _) => Reading::Together("losses", kinked),
        ("perturb", "images_gaussian") => Reading::Recorded,
        ("perturb", "ods_direction") => Reading::Together("ods_direction", kinked),
        ("perturb", "images_ods") => Reading::Together("images_ods", smooth),
        ("perturb", "images_conf_ods") => Reading::Together("images_conf_ods", smooth),
        ("be_conv2d" | "network" | "checkpoint" | "perturb", _) => Reading::Largest(smooth),
        _ => Reading::Recorded,
    }
}

/// Numbers that are measured together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Together {
    /// Squared distance.
    off: f64,
    /// Squared length of what is expected.
    size: f64,
    /// What the distance may be of the length.
    pub tolerance: f64,
}

impl Together {
    /// Adds numbers that were at `before` and should have come to `expected`.
    pub(crate) fn add(&mut self, before: Option<&[f64]>, expected: &[f64], ours: &[f64]) {
        for (index, (expected, ours)) in expected.iter().zip(ours).enumerate() {
            let before = before.and_then(|before| before.get(index)).copied().unwrap_or(0.0);
            self.off += (ours - expected).powi(2);
            self.size += (expected - before).powi(2);
        }
    }

    /// The distance over the length.
    pub(crate) fn error(&self) -> f64 {
        self.off.sqrt() / (1e-6 + self.size.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What no convolution has rounded keeps its tolerance in every precision, and f32 keeps all.
    #[test]
    fn only_what_is_rounded_is_read_more_widely() {
        for (kind, name) in [
            ("metrics", "nll"),
            ("lr_schedule", "factor"),
            ("be_linear", "grad_weight"),
            ("perturb", "images_gaussian"),
        ] {
            assert_eq!(reading(Precision::Bf16, kind, name), Reading::Recorded, "{kind} {name}");
        }
        assert_eq!(reading(Precision::F32, "train", "loss"), Reading::Recorded);
        assert_eq!(reading(Precision::Tf32, "be_conv2d", "y"), Reading::Largest(4.0 / 512.0));
        assert_eq!(reading(Precision::Bf16, "network", "grad.x"), Reading::Together("gradient", 0.25));
    }

    /// From (1, 1) to (4, 5) is a way of 5; 1 beside the end is a fifth of it. A step that was not taken is all of it.
    #[test]
    fn trained_numbers_are_measured_by_their_way() {
        let error = |ours: &[f64]| {
            let mut together = Together::default();
            together.add(Some(&[1.0, 1.0]), &[4.0, 5.0], ours);
            together.error()
        };
        assert!((error(&[4.0, 6.0]) - 0.2).abs() < 1e-6);
        assert!((error(&[1.0, 1.0]) - 1.0).abs() < 1e-6);
    }
}
