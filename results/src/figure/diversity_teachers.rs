//! The paper's figure 3 (a): diversity of the teachers by confidence, on clean and perturbed training images and on test
//! images.

use std::collections::BTreeMap;

use super::canvas::{Anchor, Canvas, LABEL, Rect, WIDTH};
use super::diversity::{BINS, Diversity, Images, OfBin, name, range};
use super::panel::{Axes, BELOW, Grid, Panel};
use super::scale::extent;
use super::sources::Sources;
use super::style::Style;
use super::{Drawing, Figure, Id, ends, estimate, over_seeds, seeds, style};
use crate::analysis::{Set, TEACHERS};
use crate::check::claims::{Relation, compare};
use crate::table::Cell;

pub(super) fn figure(sources: &Sources) -> Figure {
    let of = |images: Images| {
        let diversity = Diversity::of(sources, TEACHERS, &images)?;
        Some((images, diversity))
    };
    let found: Vec<(Images, Diversity)> =
        Images::of(&sources.source.analyses).into_iter().filter_map(of).collect();
    let counts = || found.iter().map(|(_, diversity)| diversity.means().len());
    let has_training = found.iter().any(|(images, _)| *images != Images::Test);
    let [clean, gaussian, ods] = [Set::Clean, Set::Gaussian, Set::Ods].map(|set| on_training(sources, set));
    let mean = |by_seed| over_seeds(by_seed).map(|cell| estimate(cell, 3));
    let own: Vec<String> = found.iter().filter_map(of_method).collect();
    let number = match (mean(&clean), mean(&gaussian), mean(&ods)) {
        (Some(clean), Some(gaussian), Some(ods)) => {
            format!(
                "Mean KLD on training images: {clean} clean, {gaussian} with Gaussian noise, {ods} with ODS{}",
                own.concat()
            )
        }
        _ => String::new(),
    };
    let missing = match has_training || found.is_empty() {
        true => "",
        false => {
            " The training images' bins are missing: these records lack the arrays that they are drawn from."
        }
    };
    Figure {
        id: Id::DiversityTeachers,
        drawing: match found.is_empty() {
            true => Err(
                "Diversity is of a seed's first M teachers: it needs two of them, and an M of two or more."
                    .into(),
            ),
            false => Ok(draw(&found)),
        },
        number,
        sentence: format!(
            "Images in ten bins of the ensemble's confidence: mean pairwise KL of the teachers in a bin, and the bin's share \
             of all images, whose weighted mean is the mean KLD; of a seed with fewer than 0.1% of its images in a bin that bin has no KL.{missing} {}",
            seeds(counts().min().unwrap_or(0)..=counts().max().unwrap_or(0))
        ),
        claim: compare(
            "ODS raises the teachers' KLD on training images over clean ones",
            Relation::More,
            &ods,
            &clean,
        ),
    }
}

/// `, 0.123 with <name>` of what a method that is not of the paper perturbs.
fn of_method((images, diversity): &(Images, Diversity)) -> Option<String> {
    let Images::Training(Set::Method(name)) = images else { return None };
    diversity.mean().map(|mean| format!(", {} with {name}", estimate(mean, 3)))
}

/// The teachers' mean KLD on training images by seed.
fn on_training(sources: &Sources, set: Set) -> BTreeMap<u64, f64> {
    let diversity = Diversity::of(sources, TEACHERS, &Images::Training(set));
    diversity.map(|diversity| diversity.means()).unwrap_or_default()
}

fn draw(found: &[(Images, Diversity)]) -> Drawing {
    let (kl, share) = (style::of_row("be-kd"), style::NEUTRAL);
    let highest = |of: fn(&Diversity, usize) -> Option<Cell>| {
        let cells =
            found.iter().flat_map(|(_, diversity)| (0..BINS).filter_map(move |bin| of(diversity, bin)));
        extent(cells.map(|cell| ends(cell).1)).map_or(1.0, |(_, high)| 1.05 * high)
    };
    let heights = [highest(Diversity::kl), 100.0];
    let mut canvas = Canvas::default();
    let grid =
        Grid { left: 44.0, top: 40.0, right: WIDTH - 10.0, columns: 2, height: 58.0, gap: (44.0, 26.0) };
    for (line, (images, diversity)) in found.iter().enumerate() {
        let last = line + 1 == found.len();
        let mean = diversity.mean().map(|mean| estimate(mean, 3)).unwrap_or_default();
        let columns: [(Style, &str, OfBin); 2] =
            [(kl, "mean pairwise KL, nats", Diversity::kl), (share, "share of images, %", Diversity::share)];
        for (column, (style, heading, of)) in columns.into_iter().enumerate() {
            let panel = Panel::linear(grid.frame(2 * line + column), (0.0, 1.0), (0.0, heights[column]));
            let x = if last { "confidence of the ensemble" } else { "" };
            panel.draw(&mut canvas, Axes { x, x_numbers: last, y_numbers: true, ..Axes::default() });
            let Rect { x, y, w, .. } = panel.frame;
            if line == 0 {
                canvas.muted((x + w / 2.0, y - 25.0), Anchor::Middle, LABEL, heading);
            }
            match column {
                0 => canvas.text((x, y - 6.0), Anchor::Start, LABEL, &name(images)),
                _ => canvas.text((x + w, y - 6.0), Anchor::End, LABEL, &format!("mean KLD {mean}")),
            }
            bars(&mut canvas, &panel, style, &name(images), |bin| of(diversity, bin));
        }
    }
    Drawing::new(canvas, grid.bottom(2 * found.len()) + BELOW)
}

fn bars(canvas: &mut Canvas, panel: &Panel, style: Style, name: &str, of: impl Fn(usize) -> Option<Cell>) {
    let bottom = panel.frame.y + panel.frame.h;
    for bin in 0..BINS {
        let Some(cell) = of(bin) else { continue };
        let [left, right] = [bin, bin + 1].map(|edge| panel.x.at(edge as f64 / BINS as f64));
        let (left, right, y) = (left + 0.8, right - 0.8, panel.y.at(cell.mean));
        let title = format!("{name}, confidence in {}: {}", range(bin), estimate(cell, 3));
        canvas.bar(style, Rect { x: left, y, w: right - left, h: bottom - y }, &title);
        if cell.std.is_some() {
            let (low, high) = (panel.y.at(ends(cell).0), panel.y.at(ends(cell).1));
            let middle = (left + right) / 2.0;
            canvas.spread(style::of_row("teacher-1"), (middle, low), (middle, high));
        }
    }
}
