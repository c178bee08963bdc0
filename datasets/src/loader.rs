//! Batches: which examples a step sees and what its images look like.
//!
//! The order of an epoch is drawn from the stream ("shuffle", epoch), each example's crop from ("augment", epoch, example): any
//! batch of any epoch can be made again without the ones before it, on any number of threads, with the same bits.

use random::Stream;
use rayon::prelude::*;

use crate::Dataset;
use crate::augment::CropFlip;

/// Makes the training batches of a run.
#[derive(Clone, Debug)]
pub struct Loader<'a> {
    dataset: &'a Dataset,
    batch: usize,
    seed: u64,
    pad: Option<usize>,
}

/// One batch of B examples.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Images (B, 3, size, size) in [0, 1].
    pub images: Vec<f32>,
    /// Classes (B).
    pub labels: Vec<u32>,
    /// The examples' rows in the data set (B).
    pub rows: Vec<usize>,
}

impl<'a> Loader<'a> {
    /// Shuffled batches of `batch` examples (at least 1) of `dataset`; the last one of an epoch may be smaller.
    /// `pad` switches pad-crop-flip augmentation on (the protocol's is 4).
    pub fn new(dataset: &'a Dataset, batch: usize, seed: u64, pad: Option<usize>) -> Self {
        Self { dataset, batch: batch.max(1), seed, pad }
    }

    /// What the batches are made of.
    pub fn dataset(&self) -> &'a Dataset {
        self.dataset
    }

    /// Examples in a batch; the last one of an epoch may have fewer.
    pub fn batch_size(&self) -> usize {
        self.batch
    }

    /// Padding where images are cropped and mirrored, and the stream of those draws, for devices that do so themselves.
    pub fn augmentation(&self) -> (Option<usize>, Stream) {
        (self.pad, Stream::new(self.seed, "augment"))
    }

    /// Batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        self.dataset.len().div_ceil(self.batch)
    }

    /// The order of the rows in `epoch`: a permutation that depends on the seed and the epoch alone.
    pub fn order(&self, epoch: u32) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.dataset.len()).collect();
        Stream::new(self.seed, "shuffle").draws(epoch, 0).shuffle(&mut order);
        order
    }

    /// The batches of `epoch`, in order.
    pub fn epoch(&self, epoch: u32) -> impl ExactSizeIterator<Item = Batch> + use<'a, '_> {
        let order = self.order(epoch);
        (0..self.batches_per_epoch()).map(move |index| {
            let start = index * self.batch;
            let end = order.len().min(start + self.batch);
            self.gather(epoch, &order[start..end])
        })
    }

    /// The batch of these rows as `epoch` sees them.
    ///
    /// # Panics
    /// Where a row does not exist.
    pub fn gather(&self, epoch: u32, rows: &[usize]) -> Batch {
        let labels = rows.iter().map(|&row| self.dataset.labels[row]).collect();
        let Some(pad) = self.pad else {
            return Batch { images: self.dataset.gather(rows), labels, rows: rows.to_vec() };
        };
        let (_, stream) = self.augmentation();
        let example = self.dataset.example_len();
        let mut images = vec![0.0; rows.len() * example];
        images.par_chunks_mut(example).zip(rows).for_each(|(out, &row)| {
            let crop = CropFlip::draw(pad, &mut stream.draws(epoch, row as u64));
            crop.apply(self.dataset.image(row), self.dataset.size, pad, out);
        });
        Batch { images, labels, rows: rows.to_vec() }
    }
}
