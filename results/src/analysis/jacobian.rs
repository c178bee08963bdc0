//! How close a student's Jacobians are to its teachers' (section 5.3).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::Space;
use super::tensors::Matrix;

/// A student's Jacobians (K, D) by the image against its teachers', on n test images.
#[derive(Clone, Debug, PartialEq)]
pub struct JacobianMatch {
    /// What they are compared with.
    pub against: Against,
    /// How inner products of Jacobians were computed.
    pub estimator: Estimator,
    /// (n): indices of the test images.
    pub examples: Vec<usize>,
    /// One for each space.
    pub spaces: BTreeMap<Space, Match>,
}

/// Relative distance and cosine, (M, n); one row where the student is one network. NaN where the teacher's Jacobian
/// vanishes.
#[derive(Clone, Debug, PartialEq)]
pub struct Match {
    /// ‖J_S - J_T‖ / ‖J_T‖ in the Frobenius norm, at least 0.
    pub distance: Matrix,
    /// ⟨J_S, J_T⟩ / (‖J_S‖ ‖J_T‖), in \[-1, 1\].
    pub cosine: Matrix,
    /// Standard errors of both, where they are estimates.
    pub error: Option<MatchError>,
}

/// Standard errors over the projections, (M, n).
#[derive(Clone, Debug, PartialEq)]
pub struct MatchError {
    /// Of the distance.
    pub distance: Matrix,
    /// Of the cosine.
    pub cosine: Matrix,
}

/// What a student's Jacobian is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// Subnetwork m with teacher m.
    OneToOne,
    /// A student of one network with the ensemble: the mean over teachers of their probabilities' Jacobians, and of
    /// their logits'.
    Ensemble,
}

/// How the inner products of Jacobians were computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Estimator {
    /// From all K rows.
    Exact,
    /// From so many random combinations of the rows.
    Projections(usize),
}
