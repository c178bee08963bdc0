//! The paper's figure 1: how sure the teachers are of the images that they were trained on.

use std::collections::BTreeMap;

use metrics::Binned;

use super::canvas::{Canvas, Rect, WIDTH};
use super::legend::{self, Key};
use super::panel::{Axes, BELOW, Panel};
use super::sources::Sources;
use super::style::{self, Style};
use super::{Drawing, Figure, Id, NO_ANALYSES, ends, estimate, over_seeds, seeds};
use crate::check::claims::above;
use crate::table::Cell;

/// Bins of the histogram.
const BINS: usize = 20;

/// What the paper's "most" training images are taken as, in percent.
const MOST: f64 = 50.0;

/// Shares of the bins in percent, by seed.
type Shares = BTreeMap<u64, Vec<f64>>;

pub(super) fn figure(sources: &Sources) -> Figure {
    let training = shares(training(sources));
    let test = shares(test(sources));
    let last = |shares: &Shares| -> BTreeMap<u64, f64> {
        shares.iter().filter_map(|(seed, bins)| Some((*seed, *bins.last()?))).collect()
    };
    let percent = |shares: &Shares| over_seeds(&last(shares)).map(|cell| estimate(cell, 1));
    let number = match (percent(&training), percent(&test)) {
        (Some(training), Some(test)) => format!(
            "Confidence is above 0.95 on {training} % of the training images, and on {test} % of the test images"
        ),
        (Some(training), None) => format!("Confidence is above 0.95 on {training} % of the training images"),
        (None, _) => String::new(),
    };
    Figure {
        id: Id::Confidence,
        drawing: if training.is_empty() { Err(NO_ANALYSES.to_owned()) } else { Ok(draw(&training, &test)) },
        number,
        sentence: format!(
            "The largest probability that each teacher gives, on clean training images (bars) and on test images (line). \
             Where all teachers are sure of one class they say the same, and a student sees no diversity. {}",
            seeds(training.len()..=training.len())
        ),
        claim: above(
            "Teachers are nearly certain of most training images",
            &last(&training),
            MOST,
            "% of the images with a confidence above 0.95; both numbers are ours",
        ),
    }
}

/// Every teacher's confidences on clean training images, by seed.
fn training(sources: &Sources) -> BTreeMap<u64, Vec<f64>> {
    let of =
        |matrix: &crate::analysis::Matrix| matrix.values().iter().map(|value| f64::from(*value)).collect();
    sources.teachers().filter_map(|one| Some((one.seed, of(one.confidence.as_ref()?)))).collect()
}

/// Every teacher's confidences on test images, by seed.
fn test(sources: &Sources) -> BTreeMap<u64, Vec<f64>> {
    let mut all: BTreeMap<u64, Vec<f64>> = BTreeMap::new();
    for tested in sources.source.teachers() {
        all.entry(tested.seed).or_default().extend(&tested.confidence);
    }
    all
}

fn shares(confidences: BTreeMap<u64, Vec<f64>>) -> Shares {
    let share = |(seed, values): (u64, Vec<f64>)| {
        let binned = Binned::new(values.into_iter().map(|value| (value, 0.0)), BINS);
        (seed, binned.share.into_iter().map(|share| 100.0 * share).collect())
    };
    confidences.into_iter().map(share).collect()
}

/// A bin's share over seeds.
fn cell(shares: &Shares, bin: usize) -> Option<Cell> {
    over_seeds(&shares.iter().map(|(seed, bins)| (*seed, bins[bin])).collect())
}

fn draw(training: &Shares, test: &Shares) -> Drawing {
    let (bars, line) =
        (style::of_row("teacher-1"), Style { color: 2, dash: "", ..style::of_row("be-kd-ods") });
    let mut canvas = Canvas::default();
    let entries = [(bars, Key::Bar, "training images"), (line, Key::Line, "test images")];
    let entries = &entries[..if test.is_empty() { 1 } else { 2 }];
    let top = legend::draw(&mut canvas, 2.0, entries) + 10.0;
    let frame = Rect { x: 46.0, y: top, w: WIDTH - 46.0 - 14.0, h: 170.0 };
    let panel = Panel::linear(frame, (0.0, 1.0), (0.0, 100.0));
    panel.draw(
        &mut canvas,
        Axes {
            x: "confidence: largest probability of one teacher",
            y: "share of images, %",
            x_numbers: true,
            y_numbers: true,
            title: "",
        },
    );
    let edge = |bin: usize| panel.x.at(bin as f64 / BINS as f64);
    let range =
        |bin: usize| format!("({:.2}, {:.2}]", bin as f64 / BINS as f64, (bin + 1) as f64 / BINS as f64);
    for bin in 0..BINS {
        let Some(share) = cell(training, bin).filter(|share| share.mean > 0.0) else { continue };
        let (left, right, y) = (edge(bin) + 0.8, edge(bin + 1) - 0.8, panel.y.at(share.mean));
        let rect = Rect { x: left, y, w: right - left, h: frame.y + frame.h - y };
        canvas.bar(bars, rect, &format!("training, confidence in {}: {} %", range(bin), estimate(share, 2)));
        if share.std.is_some() {
            let (low, high) = (panel.y.at(ends(share).0), panel.y.at(ends(share).1));
            let middle = (left + right) / 2.0;
            canvas.spread(Style { color: 7, ..bars }, (middle, low), (middle, high));
        }
    }
    let steps: Vec<(f64, f64)> = (0..BINS)
        .filter_map(|bin| Some((bin, panel.y.at(cell(test, bin)?.mean))))
        .flat_map(|(bin, y)| [(edge(bin), y), (edge(bin + 1), y)])
        .collect();
    if !steps.is_empty() {
        let share = cell(test, BINS - 1).map(|share| estimate(share, 2)).unwrap_or_default();
        canvas.curve(line, &steps, &format!("test images; above 0.95: {share} %"));
    }
    Drawing::new(canvas, frame.y + frame.h + BELOW)
}
