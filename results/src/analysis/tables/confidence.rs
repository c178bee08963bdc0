//! Figure 1: how sure the teachers are of their training images.

use std::collections::BTreeMap;

use metrics::Binned;

use super::source::Source;
use super::{deviation, mean, spread};
use crate::analysis::TEACHERS;
use crate::sheet::{Sheet, full};

/// Bins of the histogram.
const BINS: usize = 20;

/// The histogram of the teachers' largest probabilities on clean training and on test images: a line a bin, its share of
/// all pairs of teacher and image in percent, over seeds.
pub fn confidence(source: &Source) -> Sheet {
    let shares = |confidences: &mut dyn Iterator<Item = f64>| {
        Binned::new(confidences.map(|confidence| (confidence, 0.0)), BINS).share
    };
    let training: Vec<Vec<f64>> = source
        .of(TEACHERS)
        .filter_map(|one| one.confidence.as_ref())
        .map(|stored| shares(&mut stored.values().iter().map(|value| f64::from(*value))))
        .collect();
    let mut teachers: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for tested in source.teachers() {
        teachers.entry(tested.seed).or_default().extend(&tested.confidence);
    }
    let test: Vec<Vec<f64>> =
        teachers.values().map(|confidences| shares(&mut confidences.iter().copied())).collect();
    let edge = |bin: usize| bin as f64 / BINS as f64;
    let (mut lines, mut csv) = (Vec::new(), Vec::new());
    for bin in 0..BINS {
        let of = |shares: &[Vec<f64>]| shares.iter().map(|shares| shares[bin]).collect::<Vec<f64>>();
        let (training, test) = (of(&training), of(&test));
        let percent =
            |shares: &[f64]| spread(&shares.iter().map(|share| 100.0 * share).collect::<Vec<_>>(), 2);
        let range = format!("({:.2}, {:.2}]", edge(bin), edge(bin + 1));
        lines.push(vec![range, percent(&training), percent(&test)]);
        let numbers = [
            Some(edge(bin)),
            Some(edge(bin + 1)),
            mean(&training),
            deviation(&training),
            mean(&test),
            deviation(&test),
        ];
        csv.push(std::iter::once(source.folder.clone()).chain(numbers.map(full)).collect());
    }
    let headings = ["confidence", "training %", "test %"];
    Sheet {
        title: format!("{}: the teachers' confidence (figure 1)", source.folder),
        labels: 1,
        headings: headings.map(str::to_owned).into(),
        lines,
        notes: vec![
            "Each teacher's largest probability on clean training images and on test images: the share of each bin."
                .to_owned(),
        ],
        csv_header: "experiment,low,high,training,training_std,test,test_std",
        csv,
    }
}
