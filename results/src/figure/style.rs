//! How rows are told apart: colour (Okabe and Ito's, safe for colour-blind readers), marker and dash together, so that a
//! print without colour can be read too. A row looks the same in every figure of an experiment; those of the paper do in all.

use crate::rows;

/// The shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Inverted,
    Pentagon,
    Star,
    Plus,
    Cross,
    Hexagon,
}

/// The look of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Style {
    /// Index into [`PALETTE`]: the class `c<index>`.
    pub(super) color: usize,
    pub(super) marker: Marker,
    /// SVG's `stroke-dasharray`; empty for a solid line.
    pub(super) dash: &'static str,
}

/// Colours on a light and on a dark ground. The first is the ground's opposite.
pub(super) const PALETTE: [(&str, &str); 8] = [
    ("#1a1a1a", "#ececec"),
    ("#0072b2", "#4ba6e0"),
    ("#d55e00", "#ff8640"),
    ("#009e73", "#2fc99b"),
    ("#e69f00", "#f0b429"),
    ("#cc79a7", "#e59bc4"),
    ("#56b4e9", "#8fd0f5"),
    ("#808080", "#a8a8a8"),
];

/// What is not a series: text, lesser text, grid, axes, ground; on a light and on a dark page.
pub(super) const CHROME: [(&str, &str, &str); 5] = [
    ("ink", "#1a1a1a", "#ececec"),
    ("muted", "#555555", "#a9adb4"),
    ("grid", "#e2e2e2", "#33373d"),
    ("axis", "#6b6b6b", "#8a8f98"),
    ("paper", "#ffffff", "#16181c"),
];

/// Ensembles and teachers.
pub(super) const TEACHERS: Style = Style { color: 0, marker: Marker::Circle, dash: "" };

/// What is no row, such as a share of images.
pub(super) const NEUTRAL: Style = Style { color: 7, marker: Marker::Plus, dash: "1 1" };

/// The students of the paper, in the order of [`rows::STUDENTS`].
const STUDENTS: [Style; 6] = [
    Style { color: 5, marker: Marker::Inverted, dash: "1 2" },
    Style { color: 6, marker: Marker::Pentagon, dash: "7 2 1 2 1 2" },
    Style { color: 1, marker: Marker::Square, dash: "6 2" },
    Style { color: 4, marker: Marker::Diamond, dash: "2 2" },
    Style { color: 3, marker: Marker::Triangle, dash: "8 2 2 2" },
    Style { color: 2, marker: Marker::Star, dash: "4 1" },
];

/// What other rows take in turn: no marker and no dash of these is one of the paper's.
const OTHER_COLORS: [usize; 7] = [7, 1, 2, 3, 5, 4, 6];
const OTHER_MARKERS: [Marker; 3] = [Marker::Plus, Marker::Cross, Marker::Hexagon];
const OTHER_DASHES: [&str; 4] = ["1 1", "10 3", "5 1 1 1", "12 2 2 2 2 2"];

/// The style of ensembles and teachers, and of a student of the paper; none of any other row.
pub(super) fn of_paper(row: &str) -> Option<Style> {
    match rows::STUDENTS.iter().zip(STUDENTS).find(|(student, _)| **student == row) {
        Some((_, style)) => Some(style),
        None if row.starts_with("de-") || row.starts_with("teacher") => Some(TEACHERS),
        None => None,
    }
}

/// The style of a row of the paper, for what is drawn in its look; that of a row of an experiment is
/// [`Sources::style`](super::Sources::style).
pub(super) fn of_row(row: &str) -> Style {
    of_paper(row).unwrap_or(NEUTRAL)
}

/// The style of the row that is, from 0, the `at`-th of an experiment's that are not of the paper.
pub(super) fn other(at: usize) -> Style {
    Style {
        color: OTHER_COLORS[at % OTHER_COLORS.len()],
        marker: OTHER_MARKERS[at % OTHER_MARKERS.len()],
        dash: OTHER_DASHES[at % OTHER_DASHES.len()],
    }
}

/// The style sheet of a figure: the colours are those of `paper` where it has one ground, else the page's variables.
pub(crate) fn sheet(color: impl Fn(&str) -> String) -> String {
    let mut css = String::new();
    for index in 0..PALETTE.len() {
        css += &format!(".c{index}{{color:{}}}", color(&format!("c{index}")));
    }
    css += &format!(".ink{{fill:{}}}.muted{{fill:{}}}", color("ink"), color("muted"));
    css += &format!(".grid{{stroke:{};stroke-width:.6}}", color("grid"));
    css += &format!(".axis{{stroke:{};stroke-width:.8;fill:none}}", color("axis"));
    css += ".line{fill:none;stroke:currentColor;stroke-width:1.5;stroke-linejoin:round}";
    css += ".thin{fill:none;stroke:currentColor;stroke-width:1}.area{fill:currentColor;stroke:none}";
    css += &format!(".solid{{fill:currentColor;stroke:{0};stroke-width:.5}}", color("paper"));
    css += &format!(".open{{fill:{};stroke:currentColor;stroke-width:1.3}}", color("paper"));
    css
}

/// The colours of the light ground, for files.
pub(crate) fn light(name: &str) -> String {
    named(name, |light, _| light)
}

/// The colours of the dark ground.
pub(crate) fn dark(name: &str) -> String {
    named(name, |_, dark| dark)
}

fn named(name: &str, choose: impl Fn(&'static str, &'static str) -> &'static str) -> String {
    let chrome = CHROME.iter().find(|(own, ..)| *own == name).map(|(_, light, dark)| choose(light, dark));
    let series = || {
        let (light, dark) = PALETTE.get(name.strip_prefix('c')?.parse::<usize>().ok()?)?;
        Some(choose(light, dark))
    };
    chrome.or_else(series).unwrap_or("currentColor").to_owned()
}

/// The page's variables: `--name:colour` for every colour of a ground.
pub(crate) fn variables(color: impl Fn(&str) -> String) -> String {
    let series = (0..PALETTE.len()).map(|index| format!("c{index}"));
    let chrome = CHROME.iter().map(|(name, ..)| (*name).to_owned());
    series.chain(chrome).map(|name| format!("--{name}:{};", color(&name))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_differ_without_colour() {
        let papers: Vec<Style> = [TEACHERS, NEUTRAL].into_iter().chain(STUDENTS).collect();
        for (at, one) in papers.iter().enumerate() {
            for other in &papers[at + 1..] {
                assert!(one.marker != other.marker && one.dash != other.dash, "{one:?} {other:?}");
                assert_ne!(one.color, other.color);
            }
        }
        let others: Vec<Style> = (0..12).map(other).collect();
        for (at, one) in others.iter().enumerate() {
            for other in &others[at + 1..] {
                assert!(one.marker != other.marker || one.dash != other.dash, "{one:?} {other:?}");
            }
            for paper in [TEACHERS].iter().chain(&STUDENTS) {
                assert!(one.marker != paper.marker && one.dash != paper.dash, "{one:?} {paper:?}");
            }
        }
        assert_eq!(of_row("de-4"), of_row("teacher-1"));
        assert_ne!(of_row("be-kd"), of_row("be"));
        assert!(rows::STUDENTS.iter().all(|row| of_paper(row).is_some()));
    }

    #[test]
    fn every_name_has_a_colour() {
        assert!(!variables(light).contains("currentColor"));
        assert_eq!(light("c3"), "#009e73");
        assert_eq!(dark("paper"), "#16181c");
    }
}
