//! The SVG of one figure, as it is being drawn.
//!
//! A *mark* is what stands for a number: a bar, a point, a cell or a line through values; error bars, bands, threads
//! between points, axes and legends are none. Every mark has the class `mark` and its value as a title, and is counted.
//! Colours come from classes, so that a page can restyle a figure for a dark ground.

use std::fmt::Write as _;

use super::font;
use super::style::{Marker, Style};

/// The width of every figure. At this many pixels, which a phone has, its text has its natural size.
pub(super) const WIDTH: f64 = 360.0;

/// Size of axis labels, legends and titles.
pub(super) const LABEL: f64 = 10.5;

/// Size of the numbers at ticks.
pub(super) const TICK: f64 = 9.5;

/// Radius of a point that stands alone.
pub(super) const POINT: f64 = 3.4;

/// Radius of a point among many.
pub(super) const DOT: f64 = 2.2;

/// Which end of a text its place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A rectangle: left, top, width, height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rect {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

/// What has been drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Canvas {
    body: String,
    marks: usize,
}

impl Canvas {
    /// The elements, and how many marks are among them.
    pub(super) fn finish(self) -> (String, usize) {
        (self.body, self.marks)
    }

    /// Text whose baseline is at `y`.
    pub(super) fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, size: f64, text: &str) {
        self.text_of("ink", (x, y), anchor, size, text, "");
    }

    /// The same for what matters less.
    pub(super) fn muted(&mut self, (x, y): (f64, f64), anchor: Anchor, size: f64, text: &str) {
        self.text_of("muted", (x, y), anchor, size, text, "");
    }

    /// The number of an x axis' tick, under it; at the figure's edge so far beside it that it stays inside.
    pub(super) fn tick(&mut self, (x, y): (f64, f64), label: &str) {
        let half = font::width(label, TICK) / 2.0 + 1.0;
        self.muted((x.clamp(half, WIDTH - half), y), Anchor::Middle, TICK, label);
    }

    /// Text that reads upwards, centred at `y`.
    pub(super) fn upwards(&mut self, (x, y): (f64, f64), size: f64, text: &str) {
        let turn = format!(" transform=\"rotate(-90 {} {})\"", number(x), number(y));
        self.text_of("ink", (x, y), Anchor::Middle, size, text, &turn);
    }

    fn text_of(
        &mut self,
        class: &str,
        (x, y): (f64, f64),
        anchor: Anchor,
        size: f64,
        text: &str,
        more: &str,
    ) {
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => " text-anchor=\"middle\"",
            Anchor::End => " text-anchor=\"end\"",
        };
        let (x, y, size, text) = (number(x), number(y), number(size), escaped(text));
        self.push(&format!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" font-size=\"{size}\"{anchor}{more}>{text}</text>"
        ));
    }

    /// A straight line of the class `grid`, `axis` or of a series.
    pub(super) fn rule(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let [x1, y1, x2, y2] = [from.0, from.1, to.0, to.1].map(number);
        self.push(&format!("<line class=\"{class}\" x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\"/>"));
    }

    /// A bar. A mark.
    pub(super) fn bar(&mut self, style: Style, rect: Rect, title: &str) {
        self.rect(&format!("mark area c{}", style.color), rect, "", title);
    }

    /// A cell whose shade is `strength` of 0 to 1. A mark.
    pub(super) fn cell(&mut self, style: Style, rect: Rect, strength: f64, title: &str) {
        // The darkest shade still lets the text on it be read, on either ground.
        let opacity = format!(" fill-opacity=\"{}\"", number(0.06 + 0.5 * strength.clamp(0.0, 1.0)));
        self.rect(&format!("mark area c{}", style.color), rect, &opacity, title);
    }

    /// A box of quartiles: an outline with a light filling. A mark.
    pub(super) fn quartiles(&mut self, style: Style, rect: Rect, title: &str) {
        self.rect(&format!("mark thin c{}", style.color), rect, " fill-opacity=\"0\"", title);
    }

    fn rect(&mut self, class: &str, Rect { x, y, w, h }: Rect, more: &str, title: &str) {
        let ([x, y, w, h], title) = ([x, y, w, h].map(number), escaped(title));
        self.marks += 1;
        self.push(&format!(
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\"{more}>\
             <title>{title}</title></rect>"
        ));
    }

    /// A point of radius `r` in the series' shape, filled or open. A mark.
    pub(super) fn point(&mut self, style: Style, at: (f64, f64), r: f64, filled: bool, title: &str) {
        self.marks += 1;
        let element = shape(style, at, r, filled, "mark ");
        self.push(&format!("{element}><title>{}</title></path>", escaped(title)));
    }

    /// A line through values. A mark.
    pub(super) fn curve(&mut self, style: Style, points: &[(f64, f64)], title: &str) {
        self.marks += 1;
        let (path, dash, title) = (path(points), dash(style), escaped(title));
        self.push(&format!(
            "<path class=\"mark line c{}\"{dash} d=\"{path}\"><title>{title}</title></path>",
            style.color
        ));
    }

    /// A line that leads the eye from point to point.
    pub(super) fn thread(&mut self, style: Style, points: &[(f64, f64)]) {
        let (path, dash) = (path(points), dash(style));
        self.push(&format!("<path class=\"thin c{}\"{dash} d=\"{path}\"/>", style.color));
    }

    /// The area between a lower and an upper line.
    pub(super) fn band(&mut self, style: Style, low: &[(f64, f64)], high: &[(f64, f64)]) {
        let around: Vec<(f64, f64)> = low.iter().chain(high.iter().rev()).copied().collect();
        let path = path(&around);
        self.push(&format!("<path class=\"area c{}\" fill-opacity=\".12\" d=\"{path}Z\"/>", style.color));
    }

    /// An outline, with the look of an axis.
    pub(super) fn outline(&mut self, Rect { x, y, w, h }: Rect) {
        let [x, y, w, h] = [x, y, w, h].map(number);
        self.push(&format!("<rect class=\"axis\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\"/>"));
    }

    /// A light ground behind what belongs together.
    pub(super) fn ground(&mut self, Rect { x, y, w, h }: Rect) {
        let [x, y, w, h] = [x, y, w, h].map(number);
        self.push(&format!(
            "<rect class=\"area c7\" fill-opacity=\".12\" x=\"{x}\" y=\"{y}\" width=\"{w}\" height=\"{h}\"/>"
        ));
    }

    /// An error bar from `low` to `high` with short caps.
    pub(super) fn spread(&mut self, style: Style, low: (f64, f64), high: (f64, f64)) {
        let cap = 2.0;
        let (dx, dy) = if low.0 == high.0 { (cap, 0.0) } else { (0.0, cap) };
        let class = format!("thin c{}", style.color);
        self.rule(&class, low, high);
        for end in [low, high] {
            self.rule(&class, (end.0 - dx, end.1 - dy), (end.0 + dx, end.1 + dy));
        }
    }

    /// A line without a value: a legend's, or one that leads the eye.
    pub(super) fn sample(&mut self, style: Style, from: (f64, f64), to: (f64, f64)) {
        self.push(&format!(
            "<path class=\"line c{}\"{} d=\"{}\"/>",
            style.color,
            dash(style),
            path(&[from, to])
        ));
    }

    /// A point without a value, of a legend.
    pub(super) fn sample_point(&mut self, style: Style, at: (f64, f64), filled: bool) {
        let element = shape(style, at, POINT, filled, "");
        self.push(&format!("{element}/>"));
    }

    /// A square without a value, of a legend, centred.
    pub(super) fn sample_bar(&mut self, style: Style, (x, y): (f64, f64)) {
        let [x, y] = [x - 4.5, y - 4.5].map(number);
        self.push(&format!(
            "<rect class=\"area c{}\" x=\"{x}\" y=\"{y}\" width=\"9\" height=\"9\"/>",
            style.color
        ));
    }

    fn push(&mut self, element: &str) {
        self.body += element;
        self.body.push('\n');
    }
}

/// The beginning of a point's element, without its end.
fn shape(style: Style, (x, y): (f64, f64), r: f64, filled: bool, mark: &str) -> String {
    let corners = |first: f64, count: usize| -> String {
        let corner = |at: usize| {
            let angle = (first + 360.0 * at as f64 / count as f64).to_radians();
            (x + 1.25 * r * angle.cos(), y + 1.25 * r * angle.sin())
        };
        format!("{}Z", path(&(0..count).map(corner).collect::<Vec<_>>()))
    };
    let d = match style.marker {
        Marker::Circle => {
            let [left, y, r, across] = [x - r, y, r, 2.0 * r].map(number);
            format!("M{left} {y}a{r} {r} 0 1 0 {across} 0a{r} {r} 0 1 0 -{across} 0Z")
        }
        Marker::Square => corners(45.0, 4),
        Marker::Diamond => corners(0.0, 4),
        Marker::Triangle => corners(-90.0, 3),
        Marker::Inverted => corners(90.0, 3),
        Marker::Pentagon => corners(-90.0, 5),
        Marker::Star => star(x, y, r),
        Marker::Hexagon => corners(0.0, 6),
        Marker::Plus => arms((x, y), r, [(0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0)]),
        Marker::Cross => {
            let half = std::f64::consts::FRAC_1_SQRT_2;
            arms((x, y), r, [(half, half), (half, -half), (-half, -half), (-half, half)])
        }
    };
    let look = if filled { "solid" } else { "open" };
    format!("<path class=\"{mark}{look} c{}\" d=\"{d}\"", style.color)
}

/// A star of five points.
fn star(x: f64, y: f64, r: f64) -> String {
    let corner = |at: u32| {
        let angle = f64::from(36 * at).to_radians();
        let radius = r * if at.is_multiple_of(2) { 1.5 } else { 0.7 };
        (x + radius * angle.sin(), y - radius * angle.cos())
    };
    format!("{}Z", path(&(0..10).map(corner).collect::<Vec<_>>()))
}

/// Four thick arms, each turned by an angle of which sine and cosine are given.
fn arms((x, y): (f64, f64), r: f64, turns: [(f64, f64); 4]) -> String {
    let (long, thin) = (1.2 * r, 0.42 * r);
    let quarter = [(thin, -long), (thin, -thin), (long, -thin)];
    let turned =
        |(sin, cos): (f64, f64)| quarter.map(|(dx, dy)| (x + cos * dx - sin * dy, y + sin * dx + cos * dy));
    let corners = turns.map(turned);
    format!("{}Z", path(corners.as_flattened()))
}

fn dash(style: Style) -> String {
    match style.dash {
        "" => String::new(),
        dash => format!(" stroke-dasharray=\"{dash}\""),
    }
}

fn path(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (at, (x, y)) in points.iter().enumerate() {
        let command = if at == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{command}{} {}", number(*x), number(*y));
    }
    path
}

/// A coordinate with two digits after the point at most.
pub(super) fn number(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// Text without the characters that markup gives a meaning.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            _ => out.push(c),
        }
    }
    out
}

/// The width of a label.
pub(super) fn label_width(text: &str) -> f64 {
    font::width(text, LABEL)
}

#[cfg(test)]
mod tests {
    use super::super::style;
    use super::*;

    #[test]
    fn marks_are_counted_and_nothing_else() {
        let (mut canvas, style) = (Canvas::default(), style::of_row("be-kd"));
        canvas.text((1.0, 2.0), Anchor::End, LABEL, "a < b & c");
        canvas.spread(style, (1.0, 1.0), (1.0, 4.0));
        canvas.thread(style, &[(0.0, 0.0), (1.0, 1.0)]);
        canvas.sample(style, (0.0, 0.0), (1.0, 0.0));
        canvas.sample_point(style, (0.0, 0.0), true);
        canvas.sample_bar(style, (0.0, 0.0));
        canvas.bar(style, Rect { x: 0.0, y: 0.0, w: 1.0, h: 2.0 }, "one");
        canvas.point(style, (1.0, 1.0), POINT, true, "two");
        canvas.curve(style, &[(0.0, 0.0), (1.0, 1.0)], "three");
        let (body, marks) = canvas.finish();
        assert_eq!(marks, 3);
        assert_eq!(body.matches("class=\"mark ").count(), 3);
        assert!(body.contains(">a &lt; b &amp; c</text>"), "{body}");
    }

    /// A tick at the right edge, with a number wider than the room beside it.
    #[test]
    fn numbers_of_ticks_stay_inside() {
        let mut canvas = Canvas::default();
        for at in [0.0, 100.0, WIDTH] {
            canvas.tick((at, 5.0), "100000");
        }
        let (body, _) = canvas.finish();
        let half = font::width("100000", TICK) / 2.0;
        let places: Vec<f64> = body
            .split("<text")
            .skip(1)
            .map(|text| text.split('"').collect::<Vec<_>>())
            .map(|words| {
                let x = words.iter().position(|word| word.trim() == "x=").unwrap();
                words[x + 1].parse().unwrap()
            })
            .collect();
        assert!(places[0] >= half && places[2] + half <= WIDTH && places[1] == 100.0, "{places:?}");
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(number(1.0), "1");
        assert_eq!(number(-0.001), "0");
        assert_eq!(number(10.256), "10.26");
        assert_eq!(number(100.0), "100");
    }
}
