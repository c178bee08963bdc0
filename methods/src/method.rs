//! The trait that a row of the table implements.

use nn::{Network, NetworkSpec, Result};

use crate::batch::{Batch, Loss, Step};
use crate::optimiser::Optimiser;
use crate::perturb::Perturbation;

/// Whose batch size, rates and schedule a method trains with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// That of the deep ensemble's members.
    Teacher,
    /// That of the distilled students.
    Student,
}

/// One row of the table: how a student is built and what one training step minimises. What it does not say is as in one-to-one
/// distillation into a BatchEnsemble.
///
/// The struct that implements this is also the method's settings table in an experiment file.
pub trait Method: Send + Sync {
    /// Whether the values of the settings make sense: they do, unless it says so.
    ///
    /// # Errors
    /// What is wrong, a line for each, naming the key, the value and what would be right.
    fn check(&self) -> std::result::Result<(), String> {
        Ok(())
    }

    /// The fewest subnetworks that it is defined for: one, unless it says so.
    fn least_members(&self) -> usize {
        1
    }

    /// The network that this method trains, given the plain network of the experiment and the ensemble's size M: the
    /// BatchEnsemble of M, unless it says so.
    fn student(&self, plain: &NetworkSpec, members: usize) -> NetworkSpec {
        plain.clone().batch_ensemble(members)
    }

    /// Whether [`Step::teachers`] must hold the M trained teachers: yes, unless it says so.
    fn uses_teachers(&self) -> bool {
        true
    }

    /// The recipe that it trains with: the students', unless it says so.
    fn recipe(&self) -> Recipe {
        Recipe::Student
    }

    /// Changes a freshly initialised student before its first step, such as where its fast weights start.
    ///
    /// # Errors
    /// Where the student is not of [`Method::student`], or the device fails.
    fn prepare(&self, _student: &Network) -> Result<()> {
        Ok(())
    }

    /// The optimiser, given what the recipe says and the ensemble's size M.
    fn optimiser(&self, recipe: Optimiser, _members: usize) -> Optimiser {
        recipe
    }

    /// The settings of a recipe that [`Method::optimiser`] does not take from there, by their keys, each with what it is
    /// instead: none, unless it says so. A recipe of this method cannot set them.
    fn fixes(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// The network that validates, predicts and is kept, where that is not the student itself.
    ///
    /// # Errors
    /// Where the student is not of [`Method::student`], or the device fails.
    fn inference(&self, _student: &Network) -> Result<Option<Network>> {
        Ok(None)
    }

    /// How it perturbs the images that it distills on, where it does so and that takes no more than the batch and the teachers:
    /// analyses then measure how much teachers and students disagree there.
    fn perturbation(&self) -> Option<&dyn Perturbation> {
        None
    }

    /// Whether the loss is other than the mean over images of what their batch-norm group makes of them, such as one that
    /// compares images with each other. The batches of such a method are not cut ([`micro_batch`](crate::micro_batch)).
    fn couples_groups(&self) -> bool {
        false
    }

    /// The loss of one batch, with its named parts.
    ///
    /// # Errors
    /// Where shapes do not fit or the device fails.
    fn loss(&self, batch: &Batch, step: &Step<'_>) -> Result<Loss>;
}
