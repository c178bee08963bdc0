//! The training engine against slow, plain computations of the same thing.

mod batch_ensemble;
mod layers;
mod losses;
mod naive;
mod names;
mod not_finite;
mod official;
mod official_hostile;
mod passes;
mod reference;
mod schedule;
mod sgd;
mod small;
mod state;
mod threads;
