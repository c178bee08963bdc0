//! The line `train-kld`: how much the teachers disagree on training images, clean and perturbed (the paper's figure 3,
//! teachers, in four numbers), from the stored analyses.

use results::analysis::Analysis;
use results::check::claims::TrainKld;
use results::record::scan_one;

use super::pieces;
use crate::config::Config;
use crate::plan::{Plan, Row};

/// The teachers' mean pairwise KL by seed, of those in the folder of `plan` whose analysis is stored as the experiment asks for
/// it and that have at least two teachers: also of seeds that an earlier command asked for, which are in the table too.
///
/// # Errors
/// Where the folder cannot be read; as [`Piece::is_stored`](super::Piece::is_stored).
pub fn of_folder(plan: &Plan, config: &Config) -> anyhow::Result<TrainKld> {
    let mut found = TrainKld::new();
    let first = Row::Teacher(1).to_string();
    let records = scan_one(&plan.folder)?;
    let seeds = records.iter().filter(|record| record.row == first).map(|record| record.seed);
    for piece in pieces::of_teachers(seeds, config)? {
        if piece.is_stored(&plan.folder)? {
            let means = Analysis::read(&piece.path(&plan.folder))?.train_kld();
            found.extend((!means.is_empty()).then_some((piece.seed, means)));
        }
    }
    Ok(found)
}

/// `train-kld clean=.. gaussian=.. ods=.. conf-ods=..`, and what other methods perturb: means over seeds, of the sets that all of
/// them have; none without any.
pub fn line(by_seed: &TrainKld) -> Option<String> {
    let mut line = "train-kld".to_owned();
    for set in by_seed.values().next()?.keys() {
        let values: Vec<f64> = by_seed.values().filter_map(|means| means.get(set).copied()).collect();
        if values.len() == by_seed.len() {
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            line.push_str(&format!(" {}={mean:.4}", set.name()));
        }
    }
    Some(line)
}

#[cfg(test)]
mod tests {
    use results::analysis::Set;

    use super::*;

    #[test]
    fn the_line_is_the_mean_over_seeds() {
        let probe = Set::Method("be-kd-probe".to_owned());
        let of = |means: [f64; 4]| Set::PAPER.into_iter().zip(means).chain([(probe.clone(), 0.7)]).collect();
        let mut by_seed =
            TrainKld::from([(2, of([0.1, 0.2, 1.0 / 3.0, 0.4])), (1, of([0.3, 0.4, 0.5, 0.6]))]);
        let expected = "train-kld clean=0.2000 gaussian=0.3000 ods=0.4167 conf-ods=0.5000";
        assert_eq!(line(&by_seed), Some(format!("{expected} be-kd-probe=0.7000")));
        by_seed.entry(2).and_modify(|means| _ = means.remove(&probe));
        assert_eq!(line(&by_seed).as_deref(), Some(expected));
        assert_eq!(line(&TrainKld::new()), None);
    }
}
