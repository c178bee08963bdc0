//! Section 5.3: whose Jacobians are close to the teachers'.

use std::collections::BTreeMap;

use super::source::Source;
use super::{average, deviation, mean, quantile, spread, verdict};
use crate::analysis::{Against, Estimator, JacobianMatch, Space};
use crate::compare::BASELINE;
use crate::sheet::{Sheet, full};

/// What is compared: its name, and how a median above and below the baseline's is called. Only the cosine speaks of
/// closeness: a distance falls as well where the student's Jacobian shrinks, down to 1 for one of zeros.
const MEASURES: [(&str, [&str; 2]); 2] =
    [("cosine", ["closer", "farther"]), ("distance", ["larger", "smaller"])];

/// A line for each student, space and measure: mean and quartiles over members and test images, and how the median is to
/// [`BASELINE`]'s, by the 95% interval of the difference within a seed over seeds. (Where a teacher is nearly certain its
/// Jacobian is tiny: means of distances are those of a few images.)
pub fn jacobian(source: &Source) -> Sheet {
    let (mut lines, mut csv) = (Vec::new(), Vec::new());
    let mut ranking = Vec::new();
    let mut beyond: Vec<String> = Vec::new();
    for space in [Space::Probs, Space::Logits] {
        for (measure, [above, below]) in MEASURES {
            let baseline = summaries(source, BASELINE, space, measure);
            let mut far = Vec::new();
            for row in source.rows() {
                let seeds = summaries(source, row, space, measure);
                let Some(against) = against(source, row).filter(|_| !seeds.is_empty()) else { continue };
                let of = |value: fn(&Summary) -> f64| seeds.values().map(value).collect::<Vec<f64>>();
                let means = of(|one| one.mean);
                let differences: Vec<f64> = seeds
                    .iter()
                    .filter_map(|(seed, own)| Some(own.quartiles[1] - baseline.get(seed)?.quartiles[1]))
                    .collect();
                let verdict = match (row == BASELINE || differences.is_empty(), against) {
                    (true, _) | (_, Against::Ensemble) => "",
                    _ => verdict(&differences, above, below),
                };
                if measure == "distance" {
                    let median = mean(&of(|one| one.quartiles[1])).filter(|median| *median > 1.0);
                    far.extend(median.map(|median| format!("{row} {median:.3}")));
                }
                if (space, measure, against) == (Space::Probs, "cosine", Against::OneToOne) {
                    ranking.extend(mean(&of(|one| one.quartiles[1])).map(|median| (row, median)));
                }
                let quartiles =
                    [of(|one| one.quartiles[0]), of(|one| one.quartiles[1]), of(|one| one.quartiles[2])];
                let against = match against {
                    Against::OneToOne => "one to one",
                    Against::Ensemble => "ensemble",
                };
                let labels = [space.name(), measure, row, against].map(str::to_owned);
                let numbers =
                    [spread(&means, 3)].into_iter().chain(quartiles.iter().map(|part| average(part, 3)));
                let count = seeds.len().to_string();
                lines.push(
                    labels
                        .iter()
                        .cloned()
                        .chain([count.clone()])
                        .chain(numbers)
                        .chain([verdict.to_owned()])
                        .collect(),
                );
                let numbers = [mean(&means), deviation(&means)]
                    .into_iter()
                    .chain(quartiles.iter().map(|part| mean(part)));
                csv.push(
                    std::iter::once(source.folder.clone())
                        .chain(labels)
                        .chain([count])
                        .chain(numbers.map(full))
                        .chain([verdict.to_owned()])
                        .collect(),
                );
            }
            if !far.is_empty() {
                beyond.push(format!("of {}: {}", space.name(), far.join(", ")));
            }
        }
    }
    let headings = ["of", "measure", "row", "against", "seeds", "mean", "25%", "median", "75%", "than be-kd"];
    Sheet {
        title: format!("{}: the students' Jacobians against the teachers' (section 5.3)", source.folder),
        labels: 4,
        headings: headings.map(str::to_owned).into(),
        lines,
        notes: notes(source, ranking, &beyond),
        csv_header: "experiment,of,measure,row,against,seeds,mean,mean_std,quartile1,median,quartile3,than_be_kd",
        csv,
    }
}

/// A row on one seed.
struct Summary {
    mean: f64,
    quartiles: [f64; 3],
}

/// The values of a row over members and test images, by seed; those are left out at which the teacher's Jacobian vanishes.
fn summaries(source: &Source, row: &str, space: Space, measure: &str) -> BTreeMap<u64, Summary> {
    let summary = |seed: u64, found: &JacobianMatch| {
        let found = found.spaces.get(&space)?;
        let mut values = if measure == "cosine" { &found.cosine } else { &found.distance }.finite();
        values.sort_by(f64::total_cmp);
        let quartiles = [quantile(&values, 0.25)?, quantile(&values, 0.5)?, quantile(&values, 0.75)?];
        Some((seed, Summary { mean: mean(&values)?, quartiles }))
    };
    source.of(row).filter_map(|one| summary(one.seed, one.jacobian.as_ref()?)).collect()
}

fn against(source: &Source, row: &str) -> Option<Against> {
    source.of(row).find_map(|one| one.jacobian.as_ref()).map(|found| found.against)
}

/// `ranking` are the rows' median cosines of probabilities, `beyond` the median distances above 1, a space each.
fn notes(source: &Source, mut ranking: Vec<(&str, f64)>, beyond: &[String]) -> Vec<String> {
    let all = || source.analyses.iter().filter_map(|one| one.jacobian.as_ref());
    let mut notes = vec![
        "Jacobians by the image on test images: cosine and relative distance ‖J_S - J_T‖ / ‖J_T‖ in the Frobenius norm, \
         subnetwork m against teacher m (one to one) or one network against the teachers' mean (ensemble: not to be \
         compared with the others). `than be-kd`: by the 95% interval over seeds of the difference of medians within a \
         seed, and closer or farther by the cosine alone; where a teacher is nearly certain its Jacobian is tiny, and means \
         of distances are those of a few images."
            .to_owned(),
    ];
    ranking.sort_by(|one, other| other.1.total_cmp(&one.1));
    if !ranking.is_empty() {
        let listed: Vec<String> = ranking.iter().map(|(row, median)| format!("{row} {median:.3}")).collect();
        notes.push(format!(
            "From the closest to the farthest by the median cosine of probabilities: {}.",
            listed.join(", ")
        ));
    }
    if !beyond.is_empty() {
        notes.push(format!(
            "Median distances above 1, where a Jacobian of zeros would be at 1, so that a smaller distance may be a smaller \
             Jacobian and no closer one: {}.",
            beyond.join("; ")
        ));
    }
    let count = all().find_map(|found| match found.estimator {
        Estimator::Exact => None,
        Estimator::Projections(count) => Some(count),
    });
    if let Some(count) = count {
        let error = |space: Space| {
            let errors = all().filter_map(|found| found.spaces.get(&space)?.error.as_ref());
            average(&errors.flat_map(|error| error.cosine.finite()).collect::<Vec<_>>(), 3)
        };
        notes.push(format!(
            "Estimated from {count} random projections: the standard error of one image's cosine is {} (probabilities) and {} \
             (logits) on average.",
            error(Space::Probs),
            error(Space::Logits)
        ));
    }
    let vanished = all().flat_map(|found| found.spaces.values()).flat_map(|found| found.cosine.values());
    let vanished = vanished.filter(|value| value.is_nan()).count();
    if vanished > 0 {
        notes.push(format!("{vanished} values are left out, at which the teacher's Jacobian vanishes."));
    }
    notes
}
