//! Scores, calibration and diversity of ensemble predictions, on plain `f64` slices: no tensors, no files.
//! Exponentials and logarithms are not the system's, so every machine gives the same bits.
//!
//! Everything follows METHODOLOGY.md, section "Metrics" (Nam et al., NeurIPS 2021, section 5; DEE: Ashukha et al.,
//! ICLR 2020). Predictions enter as member logits (M, N, K), member-major, or as averaged probabilities
//! [`Probs`] (N, K): averaging over members comes before every score and before temperature scaling.
//!
//! ```
//! # fn main() -> metrics::Result<()> {
//! // Two members, three examples, two classes.
//! let logits = [2.0, 0.0, 0.0, 1.0, 3.0, 0.0, /* second member */ 1.0, 0.0, 0.0, 2.0, 0.0, 1.0];
//! let labels = [0, 1, 1];
//! let probs = metrics::Probs::mean_of_members(&logits, 2, 3, 2)?;
//! let temperature = metrics::fit_temperature(&probs, &labels)?;
//! let scores = metrics::score(&probs, &labels, temperature)?;
//! assert!(scores.cnll <= scores.nll);
//! assert!(metrics::mean_pairwise_kl(&logits, 2, 3, 2)? > 0.0);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

mod binned;
mod calibration;
mod dee;
mod diversity;
mod error;
mod examples;
mod probs;
mod quality;
mod scores;
mod temperature;

pub use binned::Binned;
pub use calibration::{BINS, TACE_THRESHOLD, ace, ece, sce, tace};
pub use dee::{Dee, dee};
pub use diversity::{
    mean_pairwise_disagreement, mean_pairwise_kl, member_kl, pairwise_disagreement, pairwise_kl,
};
pub use error::{Error, Result};
pub use examples::{Examples, Resampled, resampled_mean};
pub use probs::{Probs, softmax};
pub use quality::{acc, bs, entropy, nll};
pub use scores::{Scores, score};
pub use temperature::{TEMPERATURE_RANGE, fit_temperature};
