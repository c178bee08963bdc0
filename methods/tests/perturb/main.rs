//! Perturbations, and what distillation on perturbed images adds to it.

mod directions;
mod draws;
mod fixture;
mod gaussian;
mod jacobian;
mod losses;
mod remainder;
