//! What can be wrong with predictions: each error names the operation's input, the expected and the found.

use thiserror::Error;

/// The result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a metric cannot be computed.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A dimension is zero, or the dimensions' product does not fit in memory.
    #[error(
        "{what} of shape {shape:?}: every dimension must be at least 1 and the product must be addressable"
    )]
    Shape {
        /// Which input: `logits` or `probabilities`.
        what: &'static str,
        /// The shape as it was given.
        shape: Vec<usize>,
    },
    /// The number of values is not the product of the dimensions.
    #[error(
        "{what} of shape {shape:?} need {expected} values, found {found}: pass the shape the values have"
    )]
    Length {
        /// Which input: `logits` or `probabilities`.
        what: &'static str,
        /// The shape as it was given.
        shape: Vec<usize>,
        /// The product of the shape.
        expected: usize,
        /// The number of values.
        found: usize,
    },
    /// A logit is infinite or not a number.
    #[error(
        "logit of member {member}, example {example}, class {class} is {value}, expected a finite number: \
         the network that made it has diverged"
    )]
    NotFinite {
        /// The member's index, from 0.
        member: usize,
        /// The example's index, from 0.
        example: usize,
        /// The class index, from 0.
        class: usize,
        /// The value found.
        value: f32,
    },
    /// A value is not a probability.
    #[error("probability of example {example}, class {class} is {value}, expected a number in [0, 1]")]
    NotProbability {
        /// The example's index, from 0.
        example: usize,
        /// The class index, from 0.
        class: usize,
        /// The value found.
        value: f64,
    },
    /// An example's probabilities do not sum to one.
    #[error("probabilities of example {example} sum to {sum}, expected 1: pass probabilities, not logits")]
    NotNormalised {
        /// The example's index, from 0.
        example: usize,
        /// The sum found.
        sum: f64,
    },
    /// There are more or fewer labels than examples.
    #[error("{examples} examples need as many labels, found {labels}: pass the labels of the same split")]
    LabelCount {
        /// The number of examples.
        examples: usize,
        /// The number of labels.
        labels: usize,
    },
    /// A label names no class.
    #[error(
        "label {label} of example {example} is outside 0..{classes}: the labels belong to another data set"
    )]
    Label {
        /// The example's index, from 0.
        example: usize,
        /// The label found.
        label: u32,
        /// The number of classes.
        classes: usize,
    },
    /// A calibration error over no bins.
    #[error("calibration error over 0 bins: at least 1 is needed")]
    NoBins,
    /// A temperature that scales nothing.
    #[error("temperature {0}: expected a finite number above 0")]
    Temperature(f64),
    /// The ensemble's curve is empty or holds something that is not a finite number.
    #[error("ensemble curve {0:?}: expected at least one finite value, DE-1 first")]
    Curve(Vec<f64>),
    /// The value to place on the ensemble's curve is not a finite number.
    #[error("value {0} to place on the ensemble curve: expected a finite number")]
    Value(f64),
}
