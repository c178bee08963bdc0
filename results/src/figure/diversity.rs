//! What the two diversity figures (the paper's figure 3) share: examples binned by the members' mean confidence, the
//! mean pairwise KL and the share of each bin, on training images, clean and perturbed, and on test images.

use std::collections::BTreeMap;

use metrics::Binned;

use super::over_seeds;
use super::sources::Sources;
use crate::analysis::Set;
use crate::analysis::tables::bin_kl;
pub(super) use crate::analysis::tables::{BINS, Images};
use crate::table::Cell;

/// What the panel of some images is called.
pub(super) fn name(images: &Images) -> String {
    let (split, how) = words(images);
    format!("{split}, {how}")
}

/// The split of some images, and how they are perturbed.
pub(super) fn words(images: &Images) -> (&'static str, &str) {
    let how = match images {
        Images::Test => return ("test", "clean"),
        Images::Training(Set::Clean) => "clean",
        Images::Training(Set::Gaussian) => "Gaussian noise",
        Images::Training(Set::Ods) => "ODS",
        Images::Training(Set::ConfOds) => "ConfODS",
        Images::Training(Set::Method(name)) => name,
    };
    ("training", how)
}

/// A value of a bin: [`Diversity::kl`] or [`Diversity::share`].
pub(super) type OfBin = fn(&Diversity, usize) -> Option<Cell>;

/// The bins of a row's members on some images, by seed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Diversity(BTreeMap<u64, Binned>);

impl Diversity {
    /// Of a student, or of the teachers where `row` is [`TEACHERS`](crate::analysis::TEACHERS); none where no seed has it.
    /// The teachers' test predictions are those of the ensemble.
    pub(super) fn of(sources: &Sources, row: &str, images: &Images) -> Option<Self> {
        let by_seed: BTreeMap<u64, Binned> = match images {
            Images::Training(set) => sources
                .analyses(row)
                .filter_map(|analysis| Some((analysis.seed, analysis.diversity.get(set)?.binned())))
                .collect(),
            Images::Test => {
                let several = sources.tested(row).filter(|tested| tested.members > 1);
                several.map(|tested| (tested.seed, tested.binned())).collect()
            }
        };
        (!by_seed.is_empty()).then_some(Self(by_seed))
    }

    /// The mean KL over all examples by seed.
    pub(super) fn means(&self) -> BTreeMap<u64, f64> {
        self.0.iter().map(|(seed, binned)| (*seed, binned.mean())).collect()
    }

    /// The mean KL over all examples: "mean-KLD".
    pub(super) fn mean(&self) -> Option<Cell> {
        over_seeds(&self.means())
    }

    /// The mean KL of a bin, over the seeds that have enough examples in it ([`bin_kl`]).
    pub(super) fn kl(&self, bin: usize) -> Option<Cell> {
        over_seeds(&self.0.iter().filter_map(|(seed, binned)| Some((*seed, bin_kl(binned, bin)?))).collect())
    }

    /// The share of a bin, in percent.
    pub(super) fn share(&self, bin: usize) -> Option<Cell> {
        let cell =
            over_seeds(&self.0.iter().map(|(seed, binned)| (*seed, 100.0 * binned.share[bin])).collect());
        cell.filter(|cell| cell.mean > 0.0)
    }
}

/// The confidences of a bin, as text.
pub(super) fn range(bin: usize) -> String {
    format!("({:.1}, {:.1}]", bin as f64 / BINS as f64, (bin + 1) as f64 / BINS as f64)
}
