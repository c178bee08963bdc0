//! The vectors v through which Jacobians (K, D) are compared: <A, B> = sum over v of <A^T v, B^T v>.
//!
//! Over the K unit vectors that is exact. For many classes it is estimated: for random signs v the mean of
//! <A^T v, B^T v> is <A, B>, so that the number of backward passes does not grow with K.

use random::Stream;
use results::analysis::Estimator;

/// The most classes of which every row is computed.
pub const EXACT_CLASSES: usize = 32;

/// Random combinations of the rows where there are more classes.
pub const PROJECTIONS: usize = 32;

/// The vectors for a number of classes. Random ones are drawn for each image, from the stream "projections" keyed by the
/// seed, the vector's number and the image's index: they depend on nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Probes {
    classes: usize,
    estimator: Estimator,
    stream: Stream,
}

impl Probes {
    /// All unit vectors for up to [`EXACT_CLASSES`] classes, else [`PROJECTIONS`] random ones.
    pub fn new(classes: usize, seed: u64) -> Self {
        let exact = classes <= EXACT_CLASSES;
        Self::with(classes, seed, if exact { Estimator::Exact } else { Estimator::Projections(PROJECTIONS) })
    }

    /// The vectors of `estimator`.
    pub fn with(classes: usize, seed: u64, estimator: Estimator) -> Self {
        Self { classes, estimator, stream: Stream::new(seed, "projections") }
    }

    /// How they estimate.
    pub fn estimator(&self) -> Estimator {
        self.estimator
    }

    /// How many vectors there are.
    pub fn count(&self) -> usize {
        match self.estimator {
            Estimator::Exact => self.classes,
            Estimator::Projections(count) => count,
        }
    }

    /// What the sum over vectors is multiplied by.
    pub fn scale(&self) -> f64 {
        match self.estimator {
            Estimator::Exact => 1.0,
            Estimator::Projections(count) => 1.0 / count.max(1) as f64,
        }
    }

    /// Vector `index` for the images of `rows`, (B, K).
    pub fn vectors(&self, index: usize, rows: &[usize]) -> Vec<f32> {
        let mut vectors = vec![0.0; rows.len() * self.classes];
        for (row, vector) in rows.iter().zip(vectors.chunks_exact_mut(self.classes)) {
            match self.estimator {
                Estimator::Exact => vector[index] = 1.0,
                Estimator::Projections(_) => {
                    let mut draws = self.stream.draws(index as u32, *row as u64);
                    vector.fill_with(|| if draws.next_u32() >> 31 == 0 { 1.0 } else { -1.0 });
                }
            }
        }
        vectors
    }
}
