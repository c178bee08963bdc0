//! The paper's figure 6: diversity under perturbations that one teacher makes, of pairs with that teacher and of the others.

use std::collections::BTreeMap;

use super::canvas::{Anchor, Canvas, LABEL, POINT, Rect, TICK, WIDTH};
use super::listing::{Listing, names_width};
use super::panel::BELOW;
use super::scale::extent;
use super::sources::Sources;
use super::{Drawing, Figure, Id, NO_ANALYSES, ends, estimate, font, over_seeds, seeds, style};
use crate::analysis::Transfer;
use crate::check::claims::{Relation, compare};
use crate::table::Cell;

/// What is compared, in order: all pairs of teachers on clean images, and under ODS those without and with the teacher that
/// makes it. With two teachers there is none without it.
const KINDS: [&str; 3] = ["all pairs, clean", "pairs without maker", "pairs with maker"];

/// Mean diversity of each of [`KINDS`], by seed.
type Means = [BTreeMap<u64, f64>; 3];

pub(super) fn figure(sources: &Sources) -> Figure {
    let found: Vec<(u64, &Transfer)> =
        sources.teachers().filter_map(|one| Some((one.seed, one.transfer.as_ref()?))).collect();
    let means = means(&found);
    let text = |kind: usize| over_seeds(&means[kind]).map(|cell| estimate(cell, 3));
    let number = match (text(0), text(1), text(2)) {
        (Some(clean), Some(other), Some(own)) => format!(
            "Mean KLD under ODS of one teacher: {other} over the pairs without it, {own} over its own; {clean} on clean images"
        ),
        (Some(clean), None, Some(own)) => format!(
            "Mean KLD under ODS of one of two teachers: {own}; {clean} on clean images. There is no pair without it"
        ),
        _ => String::new(),
    };
    Figure {
        id: Id::Transfer,
        drawing: if found.is_empty() { Err(NO_ANALYSES.to_owned()) } else { Ok(draw(&found, &means)) },
        number,
        sentence: format!(
            "Above, mean pairwise KL between the teacher of a column and the others, on training images that ODS has perturbed \
             with the teacher of a row. All of a row hold a pair with that teacher, the outlined one no other. Below, the means \
             of the pairs without and with the teacher that makes the perturbation: ODS carries over where those without it rise \
             above clean images. {}",
            seeds(found.len()..=found.len())
        ),
        claim: compare(
            "ODS made by one teacher raises the diversity of the others over clean images",
            Relation::More,
            &means[1],
            &means[0],
        ),
    }
}

fn means(found: &[(u64, &Transfer)]) -> Means {
    [Transfer::clean_mean, Transfer::foreign, Transfer::own].map(|of| {
        let mean = |(seed, transfer): &(u64, &Transfer)| Some((*seed, of(transfer)?));
        found.iter().filter_map(mean).collect()
    })
}

fn draw(found: &[(u64, &Transfer)], means: &Means) -> Drawing {
    let mut canvas = Canvas::default();
    let members = found.iter().map(|(_, transfer)| transfer.values.columns()).max().unwrap_or(1);
    let cell = |r: usize, m: usize| -> Option<Cell> {
        let value =
            |transfer: &Transfer| transfer.values.rows().nth(r)?.get(m).map(|value| f64::from(*value));
        over_seeds(&found.iter().filter_map(|(seed, transfer)| Some((*seed, value(transfer)?))).collect())
    };
    let all = (0..members).flat_map(|r| (0..members).filter_map(move |m| cell(r, m)));
    let (low, high) = extent(all.map(|cell| cell.mean)).unwrap_or((0.0, 1.0));

    let (left, top) = (52.0, 34.0);
    let (w, h) = ((WIDTH - left - 12.0) / members as f64, 30.0);
    let shade = style::of_row("be-kd");
    for r in 0..members {
        for m in 0..members {
            let Some(cell) = cell(r, m) else { continue };
            let rect = Rect { x: left + m as f64 * w, y: top + r as f64 * h, w: w - 2.0, h: h - 2.0 };
            let strength = if high > low { (cell.mean - low) / (high - low) } else { 0.5 };
            let title = format!("perturbed by teacher {}, teacher {}: {}", r + 1, m + 1, estimate(cell, 3));
            canvas.cell(shade, rect, strength, &title);
            let text = format!("{:.3}", cell.mean);
            if r == m {
                canvas.outline(rect);
            }
            if font::width(&text, LABEL) + 4.0 < rect.w {
                let place = (rect.x + rect.w / 2.0, rect.y + rect.h / 2.0 + 0.35 * LABEL);
                canvas.text(place, Anchor::Middle, LABEL, &text);
            }
        }
        canvas.muted((left + (r as f64 + 0.5) * w, top - 5.0), Anchor::Middle, TICK, &(r + 1).to_string());
        let y = top + (r as f64 + 0.5) * h + 0.35 * TICK;
        canvas.muted((left - 6.0, y), Anchor::End, TICK, &(r + 1).to_string());
    }
    let bottom = top + members as f64 * h;
    canvas.text((left + members as f64 * w / 2.0, top - 20.0), Anchor::Middle, LABEL, "KLD of teacher, nats");
    canvas.upwards((left - 28.0, (top + bottom) / 2.0), LABEL, "perturbed by teacher");

    let cells: Vec<(usize, Cell)> =
        (0..KINDS.len()).filter_map(|kind| Some((kind, over_seeds(&means[kind])?))).collect();
    let names: Vec<&str> = cells.iter().map(|(kind, _)| KINDS[*kind]).collect();
    let high = extent(cells.iter().map(|(_, cell)| ends(*cell).1)).map_or(1.0, |(_, high)| 1.05 * high);
    let sides = (names_width(names.iter().copied()), WIDTH - 14.0);
    let listing = Listing::new(sides, bottom + 16.0, (0.0, high), cells.len());
    listing.draw(&mut canvas, "", "mean KLD, nats", &names, 6);
    for (line, (kind, cell)) in cells.iter().enumerate() {
        let style = style::of_row(["teacher-1", "be-kd-gaussian", "be-kd-ods"][*kind]);
        if cell.std.is_some() {
            canvas.spread(style, listing.at(ends(*cell).0, line), listing.at(ends(*cell).1, line));
        }
        let title = format!("{}: {}", KINDS[*kind], estimate(*cell, 3));
        canvas.point(style, listing.at(cell.mean, line), POINT, true, &title);
    }
    Drawing::new(canvas, listing.bottom() + BELOW)
}
