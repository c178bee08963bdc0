//! Text as LaTeX.

/// Text of a cell or a note with the signs of mathematics. An em space is a `\quad`.
pub(super) fn text(text: &str) -> String {
    escaped(text)
        .replace('±', "$\\pm$")
        .replace('−', "$-$")
        .replace(">=", "$\\geq$")
        .replace("<=", "$\\leq$")
        .replace('‖', "$\\|$")
        .replace('\u{2003}', "\\quad ")
}

/// Text without LaTeX's special characters.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_are_escaped() {
        assert_eq!(escaped("a_b 50% {x} \\"), "a\\_b 50\\% \\{x\\} \\textbackslash{}");
    }

    #[test]
    fn signs_are_mathematics() {
        assert_eq!(text(">= 1 ± 2"), "$\\geq$ 1 $\\pm$ 2");
        assert_eq!(text("\u{2003}−0.5"), "\\quad $-$0.5");
    }
}
