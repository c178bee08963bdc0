//! Reliability diagrams: accuracy against confidence on test images, before and after temperature scaling.

use std::collections::BTreeMap;

use metrics::{BINS, Binned};

use super::canvas::{Anchor, Canvas, DOT, TICK, WIDTH};
use super::legend::{self, Key};
use super::panel::{Axes, BELOW, Grid, Panel};
use super::sources::Sources;
use super::style::Style;
use super::{Drawing, Figure, Id, ends, estimate, over_seeds, seeds, style};
use crate::check::claims::{Relation, compare};
use crate::tested::Tested;
use crate::{Column, rows};

/// A bin of fewer examples than this part of all is left out of the drawing: its accuracy is mostly noise.
const LEAST: f64 = 0.002;

pub(super) fn figure(sources: &Sources) -> Figure {
    let number = ["be-kd", "be-kd-ods"]
        .into_iter()
        .chain(sources.others())
        .filter_map(|row| {
            let [ece, cece] = [Column::Ece, Column::Cece].map(|column| sources.cell(row, column));
            Some(format!("{row} {}, scaled {}", estimate(ece?, 3), estimate(cece?, 3)))
        })
        .collect::<Vec<_>>()
        .join("; ");
    Figure {
        id: Id::Reliability,
        drawing: draw(sources),
        number: if number.is_empty() { number } else { format!("ECE: {number}") },
        sentence: format!(
            "Accuracy against confidence in 15 bins of the test images, before (filled) and after temperature scaling \
             (open); a calibrated row lies on the diagonal. Bins of fewer than 0.2% of the images are left out. {}",
            seeds(sources.seeds())
        ),
        claim: compare(
            "Plain distillation has more calibration error (ECE) than distillation with ODS",
            Relation::More,
            &sources.by_seed("be-kd", Column::Ece),
            &sources.by_seed("be-kd-ods", Column::Ece),
        ),
    }
}

fn draw(sources: &Sources) -> Result<Drawing, String> {
    // The first teacher is DE-1.
    let one = rows::teacher(1);
    let ensemble = sources.ensemble();
    let names: Vec<(&str, &str)> = std::iter::once(("de-1", one.as_str()))
        .chain(std::iter::once((ensemble.as_str(), ensemble.as_str())).filter(|_| sources.members() > 1))
        .chain(sources.students().map(|row| (row, row)))
        .filter(|(_, row)| sources.tested(row).next().is_some())
        .collect();
    if names.is_empty() {
        return Err("These records have no predictions of a student or of the first teachers.".into());
    }
    let mut canvas = Canvas::default();
    let sample = style::of_row("be-kd");
    let entries =
        [(sample, Key::Point, "as predicted"), (sample, Key::OpenPoint, "after temperature scaling")];
    let top = legend::draw(&mut canvas, 2.0, &entries) + 34.0;
    let grid = Grid { left: 44.0, top, right: WIDTH - 10.0, columns: 3, height: 90.0, gap: (20.0, 38.0) };
    for (at, (name, row)) in names.iter().enumerate() {
        let panel = Panel::linear(grid.frame(at), (0.0, 1.0), (0.0, 1.0));
        let first = at % grid.columns == 0;
        // Numbers and label of the x axis where no panel stands below.
        let last = at + grid.columns >= names.len();
        let axes = Axes {
            y: if first { "accuracy" } else { "" },
            x: if last { "confidence" } else { "" },
            x_numbers: last,
            y_numbers: first,
            title: "",
        };
        panel.draw(&mut canvas, axes);
        let (left, top) = (panel.frame.x, panel.frame.y);
        canvas.text((left, top - 17.0), Anchor::Start, TICK + 0.5, name);
        let ece =
            |column| sources.cell(name, column).map(|cell| format!("{:.3}", cell.mean)).unwrap_or_default();
        let errors = format!("ECE {} → {}", ece(Column::Ece), ece(Column::Cece));
        canvas.muted((left, top - 5.0), Anchor::Start, TICK, &errors);
        canvas.rule("axis", panel.at(0.0, 0.0), panel.at(1.0, 1.0));
        let style = sources.style(name);
        points(&mut canvas, &panel, style, sources, row, false);
        points(&mut canvas, &panel, style, sources, row, true);
    }
    Ok(Drawing::new(canvas, grid.bottom(names.len()) + BELOW))
}

/// One point a bin, at the means over seeds.
fn points(canvas: &mut Canvas, panel: &Panel, style: Style, sources: &Sources, row: &str, scaled: bool) {
    let binned = |tested: &Tested| {
        let confidence = if scaled { &tested.calibrated } else { &tested.confidence };
        let hits = tested.hits.iter().map(|hit| f64::from(u8::from(*hit)));
        (tested.seed, Binned::new(confidence.iter().copied().zip(hits), BINS))
    };
    let by_seed: BTreeMap<u64, Binned> = sources.tested(row).map(binned).collect();
    for bin in 0..BINS {
        let of = |value: fn(&Binned) -> &Vec<Option<f64>>| {
            let seen = by_seed.iter().filter(|(_, binned)| binned.share[bin] >= LEAST);
            over_seeds(&seen.filter_map(|(seed, binned)| Some((*seed, value(binned)[bin]?))).collect())
        };
        let (Some(confidence), Some(acc)) = (of(|binned| &binned.confidence), of(|binned| &binned.value))
        else {
            continue;
        };
        let place = panel.at(confidence.mean, acc.mean);
        if acc.std.is_some() && !scaled {
            canvas.spread(style, (place.0, panel.y.at(ends(acc).0)), (place.0, panel.y.at(ends(acc).1)));
        }
        let when = if scaled { ", scaled" } else { "" };
        let title = format!("{row}{when}: confidence {:.3}, accuracy {}", confidence.mean, estimate(acc, 3));
        canvas.point(style, place, DOT, !scaled, &title);
    }
}
