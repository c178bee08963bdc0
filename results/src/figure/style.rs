//! How rows are told apart: colour (Okabe and Ito's, safe for colour-blind readers), marker and dash together, so that a
//! print without colour can be read too. A row looks the same in every figure.

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

const STYLES: [Style; 8] = [
    Style { color: 0, marker: Marker::Circle, dash: "" },
    Style { color: 5, marker: Marker::Inverted, dash: "1 2" },
    Style { color: 6, marker: Marker::Pentagon, dash: "7 2 1 2 1 2" },
    Style { color: 1, marker: Marker::Square, dash: "6 2" },
    Style { color: 4, marker: Marker::Diamond, dash: "2 2" },
    Style { color: 3, marker: Marker::Triangle, dash: "8 2 2 2" },
    Style { color: 2, marker: Marker::Star, dash: "4 1" },
    Style { color: 7, marker: Marker::Plus, dash: "1 1" },
];

/// The style of ensembles and teachers, of a student of the paper, or of any other row.
pub(super) fn of_row(row: &str) -> Style {
    match rows::STUDENTS.iter().position(|student| *student == row) {
        Some(at) => STYLES[at + 1],
        None if row.starts_with("de-") || row.starts_with("teacher") => STYLES[0],
        None => STYLES[7],
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
        for (at, one) in STYLES.iter().enumerate() {
            for other in &STYLES[at + 1..] {
                assert!(one.marker != other.marker && one.dash != other.dash, "{one:?} {other:?}");
                assert_ne!(one.color, other.color);
            }
        }
        assert_eq!(of_row("de-4"), of_row("teacher-1"));
        assert_ne!(of_row("be-kd"), of_row("be"));
    }

    #[test]
    fn every_name_has_a_colour() {
        assert!(!variables(light).contains("currentColor"));
        assert_eq!(light("c3"), "#009e73");
        assert_eq!(dark("paper"), "#16181c");
    }
}
