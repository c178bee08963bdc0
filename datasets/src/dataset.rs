//! Images and labels in memory.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::Id;
use crate::catalog::SplitRows;

/// Examples of one split: images as `u8`, so that all of TinyImageNet fits into 1.2 GB.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// Pixels, planar (N, 3, H, W) with H = W = `size`: all of red, then green, then blue.
    pub images: Vec<u8>,
    /// Class of each example, below `classes` (N).
    pub labels: Vec<u32>,
    /// Number of classes K.
    pub classes: usize,
    /// Height and width in pixels.
    pub size: usize,
    /// Class probabilities that each label was drawn from, (N, K), where they are known: synthetic data only.
    pub posterior: Option<Vec<f32>>,
}

impl Dataset {
    /// Number of examples N.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no examples.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Values of one image: 3 * size * size.
    pub fn example_len(&self) -> usize {
        3 * self.size * self.size
    }

    /// Image `row`, planar (3, size, size).
    ///
    /// # Panics
    /// Where there is no such row.
    pub fn image(&self, row: usize) -> &[u8] {
        &self.images[row * self.example_len()..][..self.example_len()]
    }

    /// The images of `rows` as (B, 3, size, size) in [0, 1], value / 255, as evaluation reads them.
    ///
    /// # Panics
    /// Where a row does not exist.
    pub fn gather(&self, rows: &[usize]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len() * self.example_len()];
        out.par_chunks_mut(self.example_len()).zip(rows).for_each(|(out, &row)| {
            for (out, &value) in out.iter_mut().zip(self.image(row)) {
                *out = f32::from(value) / 255.0;
            }
        });
        out
    }
}

/// Training, validation and test examples with where they came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Splits {
    /// Examples to train on.
    pub train: Dataset,
    /// Examples held out of the published training rows.
    pub val: Dataset,
    /// Published test rows (TinyImageNet: the labelled validation images).
    pub test: Dataset,
    /// What a run records about its data.
    pub provenance: Provenance,
}

impl Splits {
    /// Rows of the three splits.
    pub fn rows(&self) -> SplitRows {
        SplitRows { train: self.train.len(), val: self.val.len(), test: self.test.len() }
    }
}

/// Where examples came from, in a form that fits into a run's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The data set.
    pub dataset: Id,
    /// "hub", "folder" or "synthetic".
    pub source: String,
    /// The hub's pinned revision; for other sources none.
    pub revision: Option<String>,
    /// SHA-256 of each file by its path in the hub's layout (synthetic: of the images and labels that were made).
    pub sha256: BTreeMap<String, String>,
    /// How rows were split and reduced and whether hashes were compared or only recorded, as sentences.
    pub note: String,
}
