//! The nearest valid name to a mistyped one, for every error that rejects a name.

use thiserror::Error;

/// A name that is not among the known ones. Shows what is wrong with it where that is known, the nearest known name, and all of
/// them.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("unknown {what} `{name}`{}{}", because(.reason), hint(.name, .known, *.meant))]
pub struct UnknownName {
    /// What is named: "method", "experiment", "preset" ..
    pub what: &'static str,
    /// The name as it was given.
    pub name: String,
    /// The names that exist.
    pub known: Vec<String>,
    /// What is wrong with the name, where names are made by a rule; empty else.
    pub reason: String,
    /// The known name that is meant, where that is not the one most like it.
    pub meant: Option<&'static str>,
}

impl UnknownName {
    /// The error for `name`, which is none of `known`.
    pub fn new<S: Into<String>>(
        what: &'static str,
        name: impl Into<String>,
        known: impl IntoIterator<Item = S>,
    ) -> Self {
        let known = known.into_iter().map(Into::into).collect();
        Self { what, name: name.into(), known, reason: String::new(), meant: None }
    }

    /// The same error with what is wrong with the name.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..self }
    }

    /// The same error with the known name that is meant, and why.
    #[must_use]
    pub fn meaning(self, known: &'static str, reason: impl Into<String>) -> Self {
        Self { meant: Some(known), ..self.because(reason) }
    }
}

/// The name among `known` that is most like `name`; the first of equals. `None` where nothing is known.
///
/// Likeness is the sum of two measures in 0..1: few edits for the length (a slip of the finger) and many shared pairs of
/// letters (a part left out).
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let likeness = |known: &str| {
        strsim::normalized_damerau_levenshtein(&name, known) + strsim::sorensen_dice(&name, known)
    };
    // Of equals `max_by` takes the last.
    let known: Vec<&str> = known.into_iter().collect();
    known.into_iter().rev().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

fn because(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

fn hint(name: &str, known: &[String], meant: Option<&str>) -> String {
    let Some(best) = meant.or_else(|| nearest(name, known.iter().map(String::as_str))) else {
        return String::new();
    };
    format!("; did you mean `{best}`? (known: {})", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_and_omissions_find_the_name_that_was_meant() {
        let methods = ["teacher", "kd", "be", "be-kd", "be-kd-gaussian", "be-kd-ods", "be-kd-conf-ods"];
        for (typed, meant) in [
            ("be-ods", "be-kd-ods"),
            ("BE-KD", "be-kd"),
            ("techer", "teacher"),
            ("be-kd-confods", "be-kd-conf-ods"),
            ("dk", "kd"),
        ] {
            assert_eq!(nearest(typed, methods), Some(meant), "{typed}");
        }
        assert_eq!(nearest("kd", []), None);
    }

    #[test]
    fn the_error_shows_the_nearest_and_all_known_names() {
        let error = UnknownName::new("preset", "papr", ["paper", "smoke"]);
        assert_eq!(error.to_string(), "unknown preset `papr`; did you mean `paper`? (known: paper, smoke)");
        let error = error.because("it is too short");
        assert_eq!(
            error.to_string(),
            "unknown preset `papr`: it is too short; did you mean `paper`? (known: paper, smoke)"
        );
    }
}
