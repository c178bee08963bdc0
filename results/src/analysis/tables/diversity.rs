//! Figure 3: diversity by confidence.

use std::collections::BTreeSet;

use metrics::Binned;

use super::source::Source;
use super::{average, deviation, mean, spread};
use crate::analysis::{Analysis, Diversity, Set};
use crate::sheet::{Sheet, full};
use crate::tested::Tested;

/// Bins of the confidence.
pub(crate) const BINS: usize = 10;

/// The KL of a bin with less than this part of a seed's images is not shown: a few images decide it.
const LEAST: f64 = 0.001;

/// The mean KL of a bin of one seed; none where it has too few of the seed's images ([`LEAST`]). Tables and figures average
/// a bin's KL over the seeds that have one.
pub(crate) fn bin_kl(seed: &Binned, bin: usize) -> Option<f64> {
    seed.value[bin].filter(|_| seed.share[bin] >= LEAST)
}

impl Diversity {
    /// The KL of the images in bins of the confidence.
    pub(crate) fn binned(&self) -> Binned {
        let pairs = self.confidence.iter().zip(&self.kl);
        Binned::new(pairs.map(|(confidence, kl)| (f64::from(*confidence), f64::from(*kl))), BINS)
    }
}

impl Tested {
    /// The same of test images.
    pub(crate) fn binned(&self) -> Binned {
        Binned::new(self.confidence.iter().copied().zip(self.kl.iter().copied()), BINS)
    }
}

/// The images that a row's members are asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Images {
    Training(Set),
    Test,
}

impl Images {
    /// Those of `analyses` and the test images, in the order of lines and panels.
    pub(crate) fn of(analyses: &[Analysis]) -> Vec<Self> {
        let stored: BTreeSet<&Set> = analyses.iter().flat_map(|one| one.diversity.keys()).collect();
        stored.into_iter().cloned().map(Self::Training).chain([Self::Test]).collect()
    }

    fn name(&self) -> &str {
        match self {
            Self::Training(set) => set.name(),
            Self::Test => "test",
        }
    }
}

/// A line for each row of several members and each set of images: the mean pairwise KL over images ("mean-KLD"), and for
/// each bin of the members' mean confidence its share and its mean KL. Over seeds; a bin's KL over those that have at
/// least 0.1% of their images in it.
pub fn diversity(source: &Source) -> Sheet {
    let (mut lines, mut csv) = (Vec::new(), Vec::new());
    let all = Images::of(&source.analyses);
    for row in source.rows() {
        for images in &all {
            let seeds = binned(source, row, images);
            if seeds.is_empty() {
                continue;
            }
            let means: Vec<f64> = seeds.iter().map(Binned::mean).collect();
            let mut line =
                vec![row.to_owned(), images.name().to_owned(), seeds.len().to_string(), spread(&means, 4)];
            let mut numbers = |low: f64, high: f64, share: &[f64], kl: &[f64]| {
                let labels = [
                    source.folder.clone(),
                    row.to_owned(),
                    images.name().to_owned(),
                    seeds.len().to_string(),
                ];
                let values = [Some(low), Some(high), mean(share), deviation(share), mean(kl), deviation(kl)];
                csv.push(labels.into_iter().chain(values.map(full)).collect());
            };
            numbers(0.0, 1.0, &vec![1.0; seeds.len()], &means);
            for bin in 0..BINS {
                let share: Vec<f64> = seeds.iter().map(|seed| seed.share[bin]).collect();
                let kl: Vec<f64> = seeds.iter().filter_map(|seed| bin_kl(seed, bin)).collect();
                numbers(bin as f64 / BINS as f64, (bin + 1) as f64 / BINS as f64, &share, &kl);
                let percent = 100.0 * mean(&share).unwrap_or(0.0);
                let share = if percent < 0.5 { "<1%".to_owned() } else { format!("{percent:.0}%") };
                line.push(match (percent > 0.0, kl.is_empty()) {
                    (true, false) => format!("{} {share}", average(&kl, 3)),
                    (true, true) => share,
                    (false, _) => String::new(),
                });
            }
            lines.push(line);
        }
    }
    let bins = (1..=BINS).map(|bin| format!("to {:.1}", bin as f64 / BINS as f64));
    let labels = ["row", "images", "seeds", "mean-KLD"].map(str::to_owned);
    Sheet {
        title: format!("{}: diversity by confidence (figure 3)", source.folder),
        labels: 2,
        headings: labels.into_iter().chain(bins).collect(),
        lines,
        notes: vec![
            "Mean pairwise KL between members in nats: over all images (mean-KLD), and in bins of the confidence of their \
             mean prediction, with the bin's share of the images; means over seeds, a bin's KL over those that have at least \
             0.1% of their images in it. All but test are training images: clean, and as methods perturb them."
                .to_owned(),
        ],
        csv_header: "experiment,row,images,seeds,low,high,share,share_std,kl,kl_std",
        csv,
    }
}

/// The bins of `row` on `images`, a seed each.
fn binned(source: &Source, row: &str, images: &Images) -> Vec<Binned> {
    match images {
        Images::Training(set) => {
            source.of(row).filter_map(|one| one.diversity.get(set)).map(Diversity::binned).collect()
        }
        Images::Test => {
            let several = source.tested(row).filter(|tested| tested.members > 1);
            several.map(Tested::binned).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of 1,000 images is 0.1%, one of 1,001 is less.
    #[test]
    fn a_bin_of_few_images_has_no_kl() {
        let of = |count: usize| {
            let images = (0..count).map(|image| if image == 0 { (0.25, 4.0) } else { (0.95, 1.0) });
            Binned::new(images, BINS)
        };
        assert_eq!((bin_kl(&of(1000), 2), bin_kl(&of(1000), 9)), (Some(4.0), Some(1.0)));
        assert_eq!((bin_kl(&of(1001), 2), bin_kl(&of(1001), 9)), (None, Some(1.0)));
        assert_eq!(bin_kl(&of(1000), 5), None);
    }
}
