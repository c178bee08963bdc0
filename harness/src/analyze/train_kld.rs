//! The line `train-kld`: how much the teachers disagree on training images, clean and perturbed (the paper's figure 3,
//! teachers, in four numbers), from the stored analyses.

use std::collections::BTreeMap;
use std::path::Path;

use results::analysis::{self, Analysis, Set, TEACHERS};

/// The mean pairwise KL of the teachers by seed, in the order of [`Set::ALL`], for those of `seeds` that are stored in
/// the experiment's folder and have at least two teachers.
///
/// # Errors
/// Where a stored analysis is damaged.
pub fn stored(
    folder: &Path,
    seeds: impl IntoIterator<Item = u64>,
) -> results::Result<BTreeMap<u64, [f64; 4]>> {
    let mut found = BTreeMap::new();
    for seed in seeds {
        let path = analysis::path(folder, TEACHERS, seed);
        if path.is_file() {
            found.extend(Analysis::read(&path)?.train_kld().map(|means| (seed, means)));
        }
    }
    Ok(found)
}

/// `train-kld clean=.. gaussian=.. ods=.. conf-ods=..`: means over seeds; none without any.
pub fn line(by_seed: &BTreeMap<u64, [f64; 4]>) -> Option<String> {
    let mut line = "train-kld".to_owned();
    for (at, set) in Set::ALL.into_iter().enumerate() {
        let mean = by_seed.values().map(|values| values[at]).sum::<f64>() / by_seed.len() as f64;
        line.push_str(&format!(" {}={mean:.4}", set.name()));
    }
    (!by_seed.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_the_mean_over_seeds() {
        let by_seed = BTreeMap::from([(2, [0.1, 0.2, 1.0 / 3.0, 0.4]), (1, [0.3, 0.4, 0.5, 0.6])]);
        let expected = "train-kld clean=0.2000 gaussian=0.3000 ods=0.4167 conf-ods=0.5000";
        assert_eq!(line(&by_seed).as_deref(), Some(expected));
        assert_eq!(line(&BTreeMap::new()), None);
    }
}
