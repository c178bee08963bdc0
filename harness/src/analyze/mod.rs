//! What the figures need beyond predictions, computed from the networks' weights and stored beside the records, once a
//! row and seed ([`results::analysis`] is the layout).
//!
//! * [`pieces`]: which rows and seeds there are, and which of them is still to be computed
//! * [`mod@store`]: computes and stores those, shared with whatever other processes do the same
//! * [`fill`]: the same from records alone, for `divkd analyze`
//! * [`perturbations`]: whose perturbations images are seen through
//! * [`inputs`], [`diversity`]: disagreement on training images, clean and perturbed; how it carries over
//! * [`linearization`], [`probes`]: derivatives by the image; [`jacobian`] compares them, [`remainder`] tests them
//! * [`train_kld`]: the line `train-kld`, from what is stored

pub mod diversity;
pub mod fill;
pub mod inputs;
pub mod jacobian;
pub mod linearization;
pub mod perturbations;
pub mod pieces;
pub mod probes;
pub mod remainder;
pub mod store;
pub mod train_kld;

pub use pieces::{Piece, missing, without_models};
pub use store::store;
