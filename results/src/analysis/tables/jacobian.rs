//! Section 5.3: whose Jacobians are close to the teachers'.

use std::collections::BTreeMap;

use super::source::Source;
use super::{average, deviation, mean, quantile, spread, verdict};
use crate::analysis::{Against, Estimator, JacobianMatch, Match, MatchError, Matrix, Space};
use crate::compare::BASELINE;
use crate::sheet::{Sheet, full};

/// What is compared. Only the cosine speaks of closeness: a distance falls as well where the student's Jacobian shrinks,
/// down to 1 for one of zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Measure {
    Cosine,
    Distance,
}

impl Measure {
    fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Distance => "distance",
        }
    }

    fn of(self, found: &Match) -> &Matrix {
        match self {
            Self::Cosine => &found.cosine,
            Self::Distance => &found.distance,
        }
    }

    fn error_of(self, found: &MatchError) -> &Matrix {
        match self {
            Self::Cosine => &found.cosine,
            Self::Distance => &found.distance,
        }
    }

    /// How a median above and below the baseline's is called.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::Cosine => ["closer", "farther"],
            Self::Distance => ["larger", "smaller"],
        }
    }
}

/// A line for each student, space and measure: mean and quartiles over members and test images, and how the median is to
/// [`BASELINE`]'s, by the 95% interval of the difference within a seed over seeds. (Where a teacher is nearly certain its
/// Jacobian is tiny: means of distances are those of a few images.)
pub fn jacobian(source: &Source) -> Sheet {
    let mut found = Vec::new();
    for space in [Space::Probs, Space::Logits] {
        for measure in [Measure::Cosine, Measure::Distance] {
            found.extend(compared(source, space, measure));
        }
    }
    let headings =
        ["of", "measure", "row", "against", "seeds", "mean", "25%", "median", "75%", "error", "than be-kd"];
    Sheet {
        title: format!("{}: the students' Jacobians against the teachers' (section 5.3)", source.folder),
        labels: 4,
        headings: headings.map(str::to_owned).into(),
        lines: found.iter().map(Compared::line).collect(),
        notes: notes(source, &found),
        csv_header: "experiment,of,measure,row,against,seeds,mean,mean_std,quartile1,median,quartile3,than_be_kd,standard_error",
        csv: found.iter().map(|one| one.csv(&source.folder)).collect(),
    }
}

/// A student's values of a measure, which it has on some seed.
struct Compared<'a> {
    space: Space,
    measure: Measure,
    row: &'a str,
    against: Against,
    seeds: BTreeMap<u64, Summary>,
    /// The standard error of one image's value, on average; none where values are exact.
    error: Option<f64>,
    /// How its median is to the baseline's; empty where they are not to be compared.
    verdict: &'static str,
}

/// A row on one seed.
struct Summary {
    mean: f64,
    quartiles: [f64; 3],
}

impl Compared<'_> {
    fn of(&self, value: impl Fn(&Summary) -> f64) -> Vec<f64> {
        self.seeds.values().map(value).collect()
    }

    fn quartiles(&self) -> [Vec<f64>; 3] {
        [0, 1, 2].map(|at| self.of(|one| one.quartiles[at]))
    }

    fn median(&self) -> Option<f64> {
        mean(&self.of(|one| one.quartiles[1]))
    }

    fn labels(&self) -> [String; 5] {
        let against = match self.against {
            Against::OneToOne => "one to one",
            Against::Ensemble => "ensemble",
        };
        let seeds = self.seeds.len().to_string();
        [self.space.name(), self.measure.name(), self.row, against, &seeds].map(str::to_owned)
    }

    fn line(&self) -> Vec<String> {
        let means = spread(&self.of(|one| one.mean), 3);
        let quartiles = self.quartiles().map(|part| average(&part, 3));
        let error = self.error.map(|error| format!("{error:.3}")).unwrap_or_default();
        [&self.labels()[..], &[means], &quartiles, &[error, self.verdict.to_owned()]].concat()
    }

    fn csv(&self, folder: &str) -> Vec<String> {
        let means = self.of(|one| one.mean);
        let means = [mean(&means), deviation(&means)].map(full);
        let quartiles = self.quartiles().map(|part| full(mean(&part)));
        [
            &[folder.to_owned()][..],
            &self.labels(),
            &means,
            &quartiles,
            &[self.verdict.to_owned(), full(self.error)],
        ]
        .concat()
    }
}

/// The rows that have values of `measure`.
fn compared(source: &Source, space: Space, measure: Measure) -> impl Iterator<Item = Compared<'_>> {
    let baseline = summaries(source, BASELINE, space, measure);
    let [above, below] = measure.words();
    source.rows().into_iter().filter_map(move |row| {
        let seeds = summaries(source, row, space, measure);
        let against = against(source, row).filter(|_| !seeds.is_empty())?;
        let difference =
            |(seed, own): (&u64, &Summary)| Some(own.quartiles[1] - baseline.get(seed)?.quartiles[1]);
        let differences: Vec<f64> = seeds.iter().filter_map(difference).collect();
        let verdict = match against {
            Against::OneToOne if row != BASELINE && !differences.is_empty() => {
                verdict(&differences, above, below)
            }
            _ => "",
        };
        let errors =
            source.of(row).filter_map(|one| one.jacobian.as_ref()?.spaces.get(&space)?.error.as_ref());
        let errors: Vec<f64> = errors.flat_map(|error| measure.error_of(error).finite()).collect();
        Some(Compared { space, measure, row, against, seeds, error: mean(&errors), verdict })
    })
}

/// The values of a row over members and test images, by seed; those are left out at which the teacher's Jacobian vanishes.
fn summaries(source: &Source, row: &str, space: Space, measure: Measure) -> BTreeMap<u64, Summary> {
    let summary = |seed: u64, found: &JacobianMatch| {
        let mut values = measure.of(found.spaces.get(&space)?).finite();
        values.sort_by(f64::total_cmp);
        let quartiles = [quantile(&values, 0.25)?, quantile(&values, 0.5)?, quantile(&values, 0.75)?];
        Some((seed, Summary { mean: mean(&values)?, quartiles }))
    };
    source.of(row).filter_map(|one| summary(one.seed, one.jacobian.as_ref()?)).collect()
}

fn against(source: &Source, row: &str) -> Option<Against> {
    source.of(row).find_map(|one| one.jacobian.as_ref()).map(|found| found.against)
}

/// How the lines are to be read, in what order the rows are by the median cosine of probabilities, and which median
/// distances are above 1.
fn notes(source: &Source, found: &[Compared<'_>]) -> Vec<String> {
    let all = || source.analyses.iter().filter_map(|one| one.jacobian.as_ref());
    let mut notes = vec![
        "Jacobians by the image on test images: cosine and relative distance ‖J_S - J_T‖ / ‖J_T‖ in the Frobenius norm, \
         subnetwork m against teacher m (one to one) or one network against the teachers' mean (ensemble: not to be \
         compared with the others). `than be-kd`: by the 95% interval over seeds of the difference of medians within a \
         seed, and closer or farther by the cosine alone; where a teacher is nearly certain its Jacobian is tiny, and means \
         of distances are those of a few images."
            .to_owned(),
    ];
    let medians = |space: Space, measure: Measure| {
        let of = found.iter().filter(move |one| one.space == space && one.measure == measure);
        of.filter_map(|one| Some((one, one.median()?)))
    };
    let text = |(one, median): &(&Compared<'_>, f64)| format!("{} {median:.3}", one.row);
    let mut ranking: Vec<_> =
        medians(Space::Probs, Measure::Cosine).filter(|(one, _)| one.against == Against::OneToOne).collect();
    ranking.sort_by(|one, other| other.1.total_cmp(&one.1));
    if !ranking.is_empty() {
        let listed: Vec<String> = ranking.iter().map(text).collect();
        notes.push(format!(
            "From the closest to the farthest by the median cosine of probabilities: {}.",
            listed.join(", ")
        ));
    }
    let beyond = |space: Space| {
        let far = medians(space, Measure::Distance).filter(|(_, median)| *median > 1.0);
        let far: Vec<String> = far.map(|one| text(&one)).collect();
        (!far.is_empty()).then(|| format!("of {}: {}", space.name(), far.join(", ")))
    };
    let beyond: Vec<String> = [Space::Probs, Space::Logits].into_iter().filter_map(beyond).collect();
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
        notes.push(format!(
            "Estimated from {count} random projections; `error` is the standard error of one image's value, on average."
        ));
    }
    let vanished = all().flat_map(|found| found.spaces.values()).flat_map(|found| found.cosine.values());
    let vanished = vanished.filter(|value| value.is_nan()).count();
    if vanished > 0 {
        notes.push(format!("{vanished} values are left out, at which the teacher's Jacobian vanishes."));
    }
    notes
}
