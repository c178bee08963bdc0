//! The legend above a figure's panels: what each look stands for, in as many lines as it needs.

use super::canvas::{Anchor, Canvas, LABEL, WIDTH, label_width};
use super::style::Style;

/// What of a series a legend shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Line,
    Point,
    OpenPoint,
    PointOnLine,
    Bar,
}

/// Height of a line of the legend.
const LINE: f64 = 16.0;

/// Width of a sample, with its distance from the name.
const SAMPLE: f64 = 27.0;

/// Draws the legend from `top` on and returns where it ends.
pub(super) fn draw(canvas: &mut Canvas, top: f64, entries: &[(Style, Key, &str)]) -> f64 {
    let (left, mut x, mut y) = (6.0, 6.0, top + LINE / 2.0);
    for (style, key, name) in entries {
        let width = SAMPLE + label_width(name);
        if x > left && x + width > WIDTH - 4.0 {
            x = left;
            y += LINE;
        }
        let middle = (x + 11.0, y);
        match key {
            Key::Bar => canvas.sample_bar(*style, middle),
            Key::Point => canvas.sample_point(*style, middle, true),
            Key::OpenPoint => canvas.sample_point(*style, middle, false),
            Key::Line | Key::PointOnLine => canvas.sample(*style, (x, y), (x + 22.0, y)),
        }
        if *key == Key::PointOnLine {
            canvas.sample_point(*style, middle, true);
        }
        canvas.text((x + SAMPLE, y + 0.35 * LABEL), Anchor::Start, LABEL, name);
        x += width + 12.0;
    }
    y + LINE / 2.0
}
