//! A panel: the frame that data are drawn in, with its axes; and the places of several panels.

use super::canvas::{Anchor, Canvas, LABEL, Rect, TICK};
use super::font;
use super::scale::Scale;

/// The frame of the data and its two axes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Panel {
    pub(super) frame: Rect,
    pub(super) x: Scale,
    pub(super) y: Scale,
}

/// What is written around a panel. Labels that are empty take no room.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Axes<'a> {
    /// Above the frame, at its left.
    pub(super) title: &'a str,
    /// Under the numbers of the x axis.
    pub(super) x: &'a str,
    /// Left of the numbers of the y axis, upwards.
    pub(super) y: &'a str,
    /// Whether the ticks of the x axis have numbers.
    pub(super) x_numbers: bool,
    /// Whether the ticks of the y axis have numbers.
    pub(super) y_numbers: bool,
}

/// Room under a frame for numbers and a label.
pub(super) const BELOW: f64 = 32.0;

impl Panel {
    /// A panel with linear axes over the two ranges of values.
    pub(super) fn linear(frame: Rect, x: (f64, f64), y: (f64, f64)) -> Self {
        let (x, y) = (Scale::linear(x, across(frame)), Scale::linear(y, up(frame)));
        Self { frame, x, y }
    }

    /// The place of a pair of values.
    pub(super) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        (self.x.at(x), self.y.at(y))
    }

    /// Draws grid, axes and what is written around them; before the data, so that these lie above.
    pub(super) fn draw(&self, canvas: &mut Canvas, axes: Axes<'_>) {
        self.draw_without_x(canvas, axes);
        let Rect { x, y, w, h } = self.frame;
        let bottom = y + h;
        for (value, label) in self.x_ticks() {
            let at = self.x.at(value);
            canvas.rule("axis", (at, bottom), (at, bottom + 3.0));
            if axes.x_numbers {
                canvas.tick((at, bottom + 15.0), &label);
            }
        }
        if !axes.x.is_empty() {
            let below = if axes.x_numbers { 28.5 } else { 14.0 };
            canvas.text((x + w / 2.0, bottom + below), Anchor::Middle, LABEL, axes.x);
        }
    }

    /// The same with neither ticks nor text at the x axis.
    pub(super) fn draw_without_x(&self, canvas: &mut Canvas, axes: Axes<'_>) {
        let Rect { x, y, w, h } = self.frame;
        let (right, bottom) = (x + w, y + h);
        for (value, label) in self.y_ticks() {
            let at = self.y.at(value);
            canvas.rule("grid", (x, at), (right, at));
            if axes.y_numbers {
                canvas.muted((x - 4.0, at + 0.35 * TICK), Anchor::End, TICK, &label);
            }
        }
        canvas.rule("axis", (x, bottom), (right, bottom));
        canvas.rule("axis", (x, y), (x, bottom));
        if !axes.title.is_empty() {
            canvas.text((x, y - 6.0), Anchor::Start, LABEL, axes.title);
        }
        if !axes.y.is_empty() {
            let width = |(_, label): &(f64, String)| font::width(label, TICK);
            let widest = self.y_ticks().iter().map(width).fold(0.0, f64::max);
            let numbers = if axes.y_numbers { widest + 9.0 } else { 6.0 };
            canvas.upwards((x - numbers, y + h / 2.0), LABEL, axes.y);
        }
    }

    fn y_ticks(&self) -> Vec<(f64, String)> {
        self.y.ticks((self.frame.h / 18.0) as usize)
    }

    /// As many ticks as have room for their numbers with a digit's distance between them.
    fn x_ticks(&self) -> Vec<(f64, String)> {
        for count in (1..=8).rev() {
            let ticks = self.x.ticks(count);
            let room = |pair: &[(f64, String)]| {
                let half = |label: &str| font::width(label, TICK) / 2.0;
                let distance = (self.x.at(pair[1].0) - self.x.at(pair[0].0)).abs();
                distance >= half(&pair[0].1) + half(&pair[1].1) + 8.0
            };
            if ticks.windows(2).all(room) {
                return ticks;
            }
        }
        Vec::new()
    }
}

/// From the left to the right side of `frame`.
pub(super) fn across(frame: Rect) -> (f64, f64) {
    (frame.x, frame.x + frame.w)
}

/// From the bottom to the top of `frame`.
pub(super) fn up(frame: Rect) -> (f64, f64) {
    (frame.y + frame.h, frame.y)
}

/// Equal frames in rows and columns, from left to right and from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Grid {
    /// Top left corner of the first frame.
    pub(super) left: f64,
    pub(super) top: f64,
    /// Right side of the last frame of a row.
    pub(super) right: f64,
    pub(super) columns: usize,
    /// Height of a frame.
    pub(super) height: f64,
    /// Distances between frames.
    pub(super) gap: (f64, f64),
}

impl Grid {
    /// The frame at `index`.
    pub(super) fn frame(&self, index: usize) -> Rect {
        let columns = self.columns as f64;
        let w = (self.right - self.left - (columns - 1.0) * self.gap.0) / columns;
        let (row, column) = (index / self.columns, index % self.columns);
        Rect {
            x: self.left + column as f64 * (w + self.gap.0),
            y: self.top + row as f64 * (self.height + self.gap.1),
            w,
            h: self.height,
        }
    }

    /// The bottom of the last of `count` frames.
    pub(super) fn bottom(&self, count: usize) -> f64 {
        let rows = count.div_ceil(self.columns) as f64;
        self.top + rows * self.height + (rows - 1.0) * self.gap.1
    }
}
