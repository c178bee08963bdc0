//! The contract of every method: each entry of the registry gets one case a clause, named `<method>::<clause>`, so a new
//! method is tested the moment that it is registered.

mod clauses;
mod fixture;
mod pieces;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let mut trials = vec![Trial::test("names_are_unique_and_kebab_case", || named(names()))];
    trials.push(Trial::test("a_loss_that_couples_groups_is_caught", || named(pieces::coupling_is_caught())));
    for entry in methods::registry() {
        for (clause, check) in clauses::CLAUSES {
            trials.push(Trial::test(format!("{}::{clause}", entry.name), move || named(check(entry))));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn named(result: Result<(), String>) -> Result<(), Failed> {
    result.map_err(Failed::from)
}

fn names() -> Result<(), String> {
    let mut names: Vec<&str> = methods::registry().iter().map(|entry| entry.name).collect();
    for entry in methods::registry() {
        let is_kebab = entry.name.split('-').all(|word| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
        });
        let found = methods::find(entry.name).map(|found| found.name);
        if !is_kebab || entry.summary.is_empty() || found != Some(entry.name) {
            return Err(format!("`{}`, `{}`: found as {found:?}", entry.name, entry.summary));
        }
    }
    names.sort_unstable();
    names.dedup();
    if names.len() != methods::registry().len() || methods::find("no-such-method").is_some() {
        return Err(format!("a name is there twice, or a method under no name is found: {names:?}"));
    }
    Ok(())
}
