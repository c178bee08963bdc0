//! The contract of every method: each entry of the registry gets one case a clause, named `<method>::<clause>`, so a new
//! method is tested the moment that it is registered.
//!
//! A method that breaks a clause on purpose, such as one whose subnetworks all learn from the mean of the teachers, is named in
//! [`EXCEPTIONS`] with the reason.

mod clauses;
mod distillation;
mod draws;
mod fixture;
mod perturbation;
mod pieces;
mod settings;
mod teachers;

use std::process::ExitCode;

use libtest_mimic::{Arguments, Failed, Trial};

/// Methods, the clauses that they are to break, and why. That they do break them is tested.
const EXCEPTIONS: &[(&str, &str, &str)] = &[(
    "latent-be-tdiv-sdiv",
    "images_that_the_student_sees_are_named",
    "its perturbation takes the student too, which analyses do not have",
)];

fn main() -> ExitCode {
    let mut trials = vec![Trial::test("names_are_unique_and_kebab_case", || named(names()))];
    trials.push(Trial::test("a_loss_that_couples_groups_is_caught", || named(pieces::coupling_is_caught())));
    trials.push(Trial::test("images_have_one_name", || named(perturbation::names())));
    trials.push(Trial::test("an_exception_must_be_one", || named(exceptions())));
    for entry in methods::registry() {
        for (clause, check) in clauses::CLAUSES {
            let is_exception = |(method, broken, _): &&_| (*method, *broken) == (entry.name, clause);
            let exception = EXCEPTIONS.iter().find(is_exception);
            let name = format!("{}::{clause}", entry.name);
            trials.push(Trial::test(name, move || named(held(exception.is_none(), check(entry)))));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// What comes of a clause that `should_hold`, or is broken on purpose.
fn held(should_hold: bool, result: Result<(), String>) -> Result<(), String> {
    match (should_hold, result) {
        (true, result) => result,
        (false, Err(_)) => Ok(()),
        (false, Ok(())) => Err("this clause holds: take the method out of the exceptions".to_owned()),
    }
}

fn exceptions() -> Result<(), String> {
    let broken = || Err("broken".to_owned());
    let as_told = [held(true, Ok(())), held(false, broken())].iter().all(Result::is_ok);
    let otherwise = [held(true, broken()), held(false, Ok(()))].iter().all(Result::is_err);
    let unknown = EXCEPTIONS.iter().find(|(method, clause, why)| {
        methods::find(method).is_none()
            || clauses::CLAUSES.iter().all(|(name, _)| name != clause)
            || why.is_empty()
    });
    match unknown {
        _ if !as_told || !otherwise => Err("exceptions do not turn a clause round".to_owned()),
        Some((method, clause, _)) => {
            Err(format!("{method}, {clause}: no such method or clause, or no reason"))
        }
        None => Ok(()),
    }
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
        // What tables call teachers and their ensembles.
        let of_teachers = |prefix| entry.name.strip_prefix(prefix).is_some_and(|n| n.parse::<u64>().is_ok());
        if of_teachers("teacher-") || of_teachers("de-") {
            return Err(format!("`{}` is the name of a teacher or of an ensemble", entry.name));
        }
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
