//! A panel whose y axis is a list of rows, by name.

use super::canvas::{Anchor, Canvas, LABEL, Rect, TICK, label_width};
use super::font;
use super::panel::across;
use super::scale::Scale;

/// Height of a row.
const LINE: f64 = 17.0;

/// The frame, its x axis and its rows, from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Listing {
    frame: Rect,
    pub(super) x: Scale,
    rows: usize,
}

/// The width that the names of `rows` take, with their distance from the frame.
pub(super) fn names_width<'a>(rows: impl IntoIterator<Item = &'a str>) -> f64 {
    rows.into_iter().map(label_width).fold(30.0, f64::max) + 12.0
}

impl Listing {
    /// `rows` rows in a frame from `left` to `right` whose top is at `top`; the x axis over the range of values.
    pub(super) fn new((left, right): (f64, f64), top: f64, x: (f64, f64), rows: usize) -> Self {
        let frame = Rect { x: left, y: top, w: right - left, h: LINE * rows.max(1) as f64 + 4.0 };
        Self { frame, x: Scale::linear(x, across(frame)), rows }
    }

    /// The same with a logarithmic x axis around the range.
    pub(super) fn logarithmic(sides: (f64, f64), top: f64, x: (f64, f64), rows: usize) -> Self {
        let listing = Self::new(sides, top, (0.0, 1.0), rows);
        Self { x: Scale::logarithmic(x, across(listing.frame)), ..listing }
    }

    /// The bottom of the frame.
    pub(super) fn bottom(&self) -> f64 {
        self.frame.y + self.frame.h
    }

    /// The middle of a row.
    pub(super) fn y(&self, row: usize) -> f64 {
        self.frame.y + 2.0 + LINE * (row.min(self.rows) as f64 + 0.5)
    }

    /// The place of a value in a row.
    pub(super) fn at(&self, value: f64, row: usize) -> (f64, f64) {
        (self.x.at(value), self.y(row))
    }

    /// Draws grid and axes, with about `ticks` ticks; `title` above the frame, `label` under the numbers. Names are left
    /// out where they stand beside the panel to the left.
    pub(super) fn draw(&self, canvas: &mut Canvas, title: &str, label: &str, names: &[&str], ticks: usize) {
        let Rect { x, y, w, h } = self.frame;
        let bottom = y + h;
        let room = |count: usize| {
            let ticks = self.x.ticks(count);
            let wide = ticks.iter().map(|(_, label)| font::width(label, TICK)).fold(0.0, f64::max);
            (ticks.len() as f64) * (wide + 8.0) <= w + 16.0
        };
        let count = (1..=ticks).rev().find(|count| room(*count)).unwrap_or(1);
        for (value, label) in self.x.ticks(count) {
            let at = self.x.at(value);
            canvas.rule("grid", (at, y), (at, bottom));
            canvas.rule("axis", (at, bottom), (at, bottom + 3.0));
            canvas.tick((at, bottom + 15.0), &label);
        }
        canvas.rule("axis", (x, bottom), (x + w, bottom));
        canvas.rule("axis", (x, y), (x, bottom));
        for (row, name) in names.iter().enumerate() {
            canvas.text((x - 7.0, self.y(row) + 0.35 * LABEL), Anchor::End, LABEL, name);
        }
        if !title.is_empty() {
            canvas.text((x, y - 6.0), Anchor::Start, LABEL, title);
        }
        if !label.is_empty() {
            canvas.text((x + w / 2.0, bottom + 28.5), Anchor::Middle, LABEL, label);
        }
    }
}
