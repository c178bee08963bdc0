//! What is wrong with a configuration, all of it at once.

use thiserror::Error;

/// One thing that is wrong, and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `FILE:LINE`, or the command-line option.
    pub place: String,
    /// What is wrong, what was expected, and the nearest valid name.
    pub message: String,
}

/// Everything that is wrong with the configuration of an experiment. At least one problem.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the configuration of `{experiment}` (preset {preset}) has {}{}", count(.problems), lines(.problems))]
pub struct ConfigError {
    /// The experiment's name.
    pub experiment: String,
    /// The preset that was asked for.
    pub preset: String,
    /// What is wrong, in the order of the layers.
    pub problems: Vec<Problem>,
}

fn count(problems: &[Problem]) -> String {
    match problems {
        [_] => "an error".to_owned(),
        _ => format!("{} errors", problems.len()),
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {}: {}", problem.place, problem.message)).collect()
}
