//! What the paper's figures need beyond predictions: small arrays that are stored once, because they come from the
//! networks' weights and the training images, which committed records do not have.
//!
//! Beside the rows of an experiment lies the folder `analysis`, with one file a row and seed:
//! `<out>/<experiment>-<preset>/analysis/<row>.seed-<n>.safetensors`. The row [`TEACHERS`] is the deep ensemble of the
//! seed's first M teachers; the others are students. A file is a pure function of finished records, their configuration
//! and the data. Everything is at temperature 1, with networks in eval mode. KL is in nats, shares are fractions.
//!
//! M members of the row (teachers, or subnetworks), N training images, n test images, R radii, P = M n pairs of teacher
//! and test image, teacher by teacher. All tensors are f32 but where said.
//!
//! | tensor | shape | content | in the paper |
//! |---|---|---|---|
//! | `diversity.<set>.confidence` | (N) | largest probability of the row's mean prediction | figure 3, horizontal |
//! | `diversity.<set>.kl` | (N) | mean over ordered pairs of members of KL(p_j, p_i) | figure 3, vertical |
//! | `confidence` | (M, N) | teachers: each one's largest probability, clean training images | figure 1 |
//! | `transfer` | (M, M) | teachers: row r, images perturbed by teacher r (ODS); column m, mean of [`Transfer`] | figure 6 |
//! | `transfer.clean` | (M) | teachers: the same on clean images | figure 6 |
//! | `remainder.norm` | (R) | teachers: length of the step e, in pixels of \[0, 1\] | section 3.2 |
//! | `remainder.<direction>.<space>.change` | (R, P) | teachers: length of T(x + e) - T(x) | section 3.2 |
//! | `remainder.<direction>.<space>.rest` | (R, P) | teachers: length of T(x + e) - T(x) - J e | section 3.2 |
//! | `jacobian.examples` | (n), i64 | students: indices of the test images | section 5.3 |
//! | `jacobian.<space>.distance` | (M, n) | students: ‖J_S - J_T‖ / ‖J_T‖, Frobenius | section 5.3 |
//! | `jacobian.<space>.cosine` | (M, n) | students: ⟨J_S, J_T⟩ / (‖J_S‖ ‖J_T‖) | section 5.3 |
//! | `jacobian.<space>.distance.error` | (M, n) | its standard error, where estimated | - |
//! | `jacobian.<space>.cosine.error` | (M, n) | its standard error, where estimated | - |
//!
//! `<set>` is the name of a [`Set`]: the paper's four, and one for each further method that perturbs. `<space>` is one of
//! [`Space`], `<direction>` of [`Direction`]. A row of one network has no `diversity`; its `jacobian` has one row, against
//! the ensemble ([`Against`]). Diversity on test images follows from the predictions and is not stored. A distance or cosine
//! is NaN where the teacher's Jacobian vanishes in f32.

mod belong;
mod cost;
mod file;
mod jacobian;
mod names;
mod place;
mod remainder;
pub mod tables;
mod tensors;
mod transfer;

use std::collections::BTreeMap;

pub use belong::of_records;
pub use cost::Cost;
pub use jacobian::{Against, Estimator, JacobianMatch, Match, MatchError};
pub use names::{Direction, Set, Space};
pub use place::{FOLDER, path, scan};
pub use remainder::{Curve, Remainder};
pub use tensors::Matrix;
pub use transfer::Transfer;

/// The row of the deep ensemble of a seed's first M teachers.
pub const TEACHERS: &str = "teachers";

/// The stored arrays of one row on one seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Analysis {
    /// [`TEACHERS`] or a student's row.
    pub row: String,
    /// The repetition's seed.
    pub seed: u64,
    /// What the row costs to run.
    pub cost: Cost,
    /// SHA-256 in hexadecimal of each model file that the arrays were computed from, by the row of its record.
    pub models: BTreeMap<String, String>,
    /// The settings of every method that perturbed images for it ([`Set::of`]), by its name. Earlier versions did not keep
    /// them.
    pub perturbations: BTreeMap<String, toml::Table>,
    /// Diversity of the row's members on training images; empty for a row of one network.
    pub diversity: BTreeMap<Set, Diversity>,
    /// Teachers: each one's largest probability on clean training images, (M, N).
    pub confidence: Option<Matrix>,
    /// Teachers: how far perturbations carry over from one to others; none with one teacher.
    pub transfer: Option<Transfer>,
    /// Teachers: how well their linearisation holds.
    pub remainder: Option<Remainder>,
    /// Students: how close their Jacobians are to the teachers'.
    pub jacobian: Option<JacobianMatch>,
}

impl Analysis {
    /// The mean pairwise KL of the row's members on the training images of each stored set ([`Diversity::mean_kl`]).
    pub fn train_kld(&self) -> BTreeMap<Set, f64> {
        self.diversity.iter().map(|(set, diversity)| (set.clone(), diversity.mean_kl())).collect()
    }
}

/// Diversity on a set of images, image by image, all (N).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diversity {
    /// Largest probability of the members' mean prediction.
    pub confidence: Vec<f32>,
    /// Mean pairwise KL divergence of the members' predictions, nats.
    pub kl: Vec<f32>,
}

impl Diversity {
    /// The mean of the KL over images, nats: the figure's "mean-KLD". NaN without images.
    pub fn mean_kl(&self) -> f64 {
        self.kl.iter().map(|kl| f64::from(*kl)).sum::<f64>() / self.kl.len() as f64
    }
}
