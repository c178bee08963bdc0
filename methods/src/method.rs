//! The trait that a row of the table implements.

use nn::{NetworkSpec, Result};

use crate::batch::{Batch, Loss, Step};

/// Whose batch size, rates and schedule a method trains with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// That of the deep ensemble's members.
    Teacher,
    /// That of the distilled students.
    Student,
}

/// One row of the table: how a student is built and what one training step minimises.
///
/// The struct that implements this is also the method's settings table in an experiment file.
pub trait Method: Send + Sync {
    /// The network that this method trains, given the plain network of the experiment and the ensemble's size M.
    fn student(&self, plain: &NetworkSpec, members: usize) -> NetworkSpec;

    /// Whether [`Step::teachers`] must hold the M trained teachers.
    fn uses_teachers(&self) -> bool;

    /// The recipe that it trains with.
    fn recipe(&self) -> Recipe;

    /// The loss of one batch, with its named parts.
    ///
    /// # Errors
    /// Where shapes do not fit or the device fails.
    fn loss(&self, batch: &Batch, step: &Step<'_>) -> Result<Loss>;
}
