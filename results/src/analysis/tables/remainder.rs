//! Section 3.2: how well the teachers are described by their linearisation.

use super::quantile;
use super::source::Source;
use crate::analysis::{Direction, Matrix, Remainder, Space, TEACHERS};
use crate::sheet::{Sheet, full};

/// A line for each direction, space and length of the step: medians over teachers, test images and seeds of the change, of
/// what the Jacobian leaves of it, and of the part that it leaves.
pub fn remainder(source: &Source) -> Sheet {
    let stored: Vec<&Remainder> = source.of(TEACHERS).filter_map(|one| one.remainder.as_ref()).collect();
    let (mut lines, mut csv) = (Vec::new(), Vec::new());
    for space in [Space::Probs, Space::Logits] {
        for direction in Direction::ALL {
            let norms = stored.first().map_or(&[][..], |first| &first.norm);
            for (at, norm) in norms.iter().enumerate() {
                let (mut change, mut rest) = (Vec::new(), Vec::new());
                for one in stored.iter().filter(|one| one.norm.get(at) == Some(norm)) {
                    if let Some(curve) = one.curves.get(&(direction, space)) {
                        change.extend(row(&curve.change, at));
                        rest.extend(row(&curve.rest, at));
                    }
                }
                let share: Vec<f64> = rest
                    .iter()
                    .zip(&change)
                    .map(|(rest, change)| rest / change)
                    .filter(|s| s.is_finite())
                    .collect();
                let medians = [change, rest, share].map(median);
                let training = stored.first().map(|first| f64::from(*norm) / first.training_norm);
                let labels = [space.name(), direction.name()].map(str::to_owned);
                let text = |value: Option<f64>| value.map(|value| format!("{value:.3}")).unwrap_or_default();
                let small = |value: Option<f64>| match value {
                    Some(value) if value >= 1e-3 => format!("{value:.4}"),
                    Some(value) => format!("{value:.1e}"),
                    None => String::new(),
                };
                let numbers = [
                    text(Some(f64::from(*norm))),
                    text(training),
                    small(medians[0]),
                    small(medians[1]),
                    text(medians[2]),
                ];
                lines.push(labels.iter().cloned().chain(numbers).collect());
                let numbers =
                    [Some(f64::from(*norm)), training, medians[0], medians[1], medians[2]].map(full);
                csv.push(std::iter::once(source.folder.clone()).chain(labels).chain(numbers).collect());
            }
        }
    }
    let headings = ["of", "direction", "|e|", "of training's", "change", "remainder", "share"];
    Sheet {
        title: format!("{}: the teachers' first-order remainder (section 3.2)", source.folder),
        labels: 2,
        headings: headings.map(str::to_owned).into(),
        lines,
        notes: vec![
            "Medians over teachers, test images and seeds: change |T(x + e) - T(x)|, remainder |T(x + e) - T(x) - J e|, \
             and the remainder's share of the change. Training steps have length 1 in `of training's`."
                .to_owned(),
        ],
        csv_header: "experiment,of,direction,norm,of_training,change,remainder,share",
        csv,
    }
}

fn row(matrix: &Matrix, at: usize) -> impl Iterator<Item = f64> {
    matrix.rows().nth(at).into_iter().flatten().map(|value| f64::from(*value))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}
