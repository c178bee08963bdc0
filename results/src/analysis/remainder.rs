//! How well the teachers' linearisation holds: T(x + e) = T(x) + J e + o(|e|) (section 3.2).

use std::collections::BTreeMap;

use super::names::{Direction, Space};
use super::tensors::Matrix;

/// First-order remainders of the teachers on test images.
#[derive(Clone, Debug, PartialEq)]
pub struct Remainder {
    /// (R): the length of the step e in pixels of \[0, 1\], ascending. Steps are not clipped.
    pub norm: Vec<f32>,
    /// The step at which training perturbs, in the same unit: eta / 255 times the root of the pixels' number.
    pub training_norm: f64,
    /// One for each direction and space.
    pub curves: BTreeMap<(Direction, Space), Curve>,
}

/// Changes along one direction in one space, (R, P): P pairs of teacher and test image, teacher by teacher.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// |T(x + e) - T(x)|, Euclidean over classes.
    pub change: Matrix,
    /// |T(x + e) - T(x) - J e|.
    pub rest: Matrix,
}
