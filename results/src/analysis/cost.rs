//! What a row costs to run.

use serde::{Deserialize, Serialize};

/// What a row costs to run: all its members, as they predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Floating-point operations of one test image, two a multiply-add. For the teachers: of M networks.
    pub forward_flops: u64,
    /// Parameters that are stored. For the teachers: of M networks.
    pub parameters: u64,
}
