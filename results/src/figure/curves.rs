//! Training curves: loss, accuracy on training batches, accuracy and likelihood on validation, by epoch.

use std::collections::BTreeMap;

use super::canvas::{Canvas, WIDTH};
use super::legend::{self, Key};
use super::panel::{Axes, BELOW, Grid, Panel};
use super::scale::{extent, padded};
use super::sources::{Run, Sources};
use super::{Drawing, Figure, Id, ends, estimate, over_seeds, seeds};
use crate::check::claims::above;
use crate::record::EpochRow;
use crate::rows;
use crate::table::Cell;

/// What the teachers' training accuracy must exceed where the paper says that teachers fit their training images.
const FITTED: f64 = 0.99;

/// The name of the teachers' curve: the mean over all of them.
const TEACHERS: &str = "teachers";

/// A panel's title, and where its values are.
type Quantity = (&'static str, fn(&EpochRow) -> Option<f64>);

const QUANTITIES: [Quantity; 4] = [
    ("training loss", |epoch| Some(epoch.loss)),
    ("training accuracy, %", |epoch| Some(100.0 * epoch.train_acc)),
    ("validation accuracy, %", |epoch| epoch.val_acc.map(|acc| 100.0 * acc)),
    ("validation NLL, nats", |epoch| epoch.val_nll),
];

pub(super) fn figure(sources: &Sources) -> Figure {
    let kept = |run: &Run| EpochRow::kept(&run.epochs).map(|epoch| epoch.train_acc);
    let fitted = by_seed(sources, TEACHERS, kept);
    let number = match over_seeds(&fitted) {
        Some(cell) => format!(
            "Training accuracy of the teachers at the epoch that is kept: {} %",
            estimate(Cell { mean: 100.0 * cell.mean, std: cell.std.map(|std| 100.0 * std), ..cell }, 2)
        ),
        None => String::new(),
    };
    Figure {
        id: Id::Curves,
        drawing: draw(sources),
        number,
        sentence: format!(
            "Loss and accuracy of every row by epoch, the teachers as one curve. A student's loss is the weighted sum of \
             its parts; accuracies of a BatchEnsemble are those of its subnetworks on their own. Kept of a run is the network of \
             the epoch with the best validation accuracy, the first of equals, not that of the last epoch. {}",
            seeds(sources.seeds())
        ),
        claim: above(
            "Teachers fit their training images",
            &fitted,
            FITTED,
            "training accuracy at the kept epoch; the threshold is ours",
        ),
    }
}

/// A row's values by seed; the mean over all teachers for [`TEACHERS`].
fn by_seed(sources: &Sources, row: &str, value: impl Fn(&Run) -> Option<f64>) -> BTreeMap<u64, f64> {
    let mut values: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for run in &sources.runs {
        let own = &run.info.row;
        let is_teacher = rows::teacher_index(own).is_some();
        if (own == row || row == TEACHERS && is_teacher)
            && let Some(value) = value(run)
        {
            values.entry(run.info.seed).or_default().push(value);
        }
    }
    values
        .into_iter()
        .map(|(seed, values)| (seed, values.iter().sum::<f64>() / values.len() as f64))
        .collect()
}

fn draw(sources: &Sources) -> Result<Drawing, String> {
    let has_teachers = sources.runs.iter().any(|run| rows::teacher_index(&run.info.row).is_some());
    let names: Vec<&str> = has_teachers.then_some(TEACHERS).into_iter().chain(sources.students()).collect();
    let epochs = sources.runs.iter().flat_map(|run| &run.epochs).map(|epoch| f64::from(epoch.epoch));
    let Some((_, last)) = extent(epochs) else { return Err("The records' logs have no epoch.".into()) };

    let mut canvas = Canvas::default();
    let entries: Vec<_> = names.iter().map(|name| (sources.style(name), Key::Line, *name)).collect();
    let top = legend::draw(&mut canvas, 2.0, &entries) + 24.0;
    let grid =
        Grid { left: 34.0, top, right: WIDTH - 8.0, columns: 2, height: 118.0, gap: (38.0, BELOW + 22.0) };
    for (at, (title, value)) in QUANTITIES.into_iter().enumerate() {
        let curves: Vec<(&str, Vec<(f64, Cell)>)> =
            names.iter().map(|name| (*name, curve(sources, name, value))).collect();
        let values =
            curves.iter().flat_map(|(_, curve)| curve).flat_map(|(_, cell)| <[f64; 2]>::from(ends(*cell)));
        let range = padded(extent(values).unwrap_or((0.0, 1.0)), 0.05);
        let panel = Panel::linear(grid.frame(at), (1.0, last), range);
        panel.draw(
            &mut canvas,
            Axes { title, x: "epoch", x_numbers: true, y_numbers: true, ..Axes::default() },
        );
        for (name, curve) in &curves {
            let style = sources.style(name);
            let side = |of: fn(Cell) -> f64| {
                curve.iter().map(|(x, cell)| panel.at(*x, of(*cell))).collect::<Vec<_>>()
            };
            if curve.len() > 1 && curve.iter().any(|(_, cell)| cell.std.is_some()) {
                canvas.band(style, &side(|cell| ends(cell).0), &side(|cell| ends(cell).1));
            }
        }
        for (name, curve) in &curves {
            let Some((_, end)) = curve.last() else { continue };
            let points: Vec<_> = curve.iter().map(|(x, cell)| panel.at(*x, cell.mean)).collect();
            canvas.curve(
                sources.style(name),
                &points,
                &format!("{name}: {title}, at the end {}", estimate(*end, 3)),
            );
        }
    }
    Ok(Drawing::new(canvas, grid.bottom(QUANTITIES.len()) + BELOW))
}

/// Mean and spread over seeds at each epoch that has the value.
fn curve(sources: &Sources, row: &str, value: fn(&EpochRow) -> Option<f64>) -> Vec<(f64, Cell)> {
    let last = sources.runs.iter().map(|run| run.epochs.len()).max().unwrap_or(0);
    let at = |index: usize| {
        let epoch = |run: &Run| run.epochs.get(index).and_then(value);
        let cell = over_seeds(&by_seed(sources, row, epoch))?;
        cell.mean.is_finite().then_some((index as f64 + 1.0, cell))
    };
    (0..last).filter_map(at).collect()
}
