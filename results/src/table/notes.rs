//! What a reader must know to not read too much into a table.

use super::model::{Bound, Experiment, Row};

/// The notes under the table of `experiment`, one sentence or two each.
pub(crate) fn notes(experiment: &Experiment) -> Vec<String> {
    let seeds = || experiment.rows.iter().map(|row| row.seeds);
    let mut notes = Vec::new();
    if seeds().min().is_some_and(|fewest| fewest < 2) {
        notes.push("One seed cannot order the students: run at least 2 seeds.".to_owned());
    }
    if seeds().min() != seeds().max() {
        notes.push("Rows have different numbers of seeds; each is the mean of its own.".to_owned());
    }
    let is_torn = |row: &&Row| {
        let has = |end: Bound| row.bounds().values().any(|bound| *bound == end);
        has(Bound::AtLeast) && has(Bound::AtMost)
    };
    let torn: Vec<&str> = experiment.rows.iter().filter(is_torn).map(|row| row.name.as_str()).collect();
    if !torn.is_empty() {
        notes.push(format!(
            "The DEE of {} is beyond the curve of ensembles on some seeds at one end and on some at the other: its mean says \
             nothing.",
            torn.join(", ")
        ));
    }
    let most = experiment.ensemble();
    if most == 0 {
        notes.push("No teachers lie beside these rows: there are no DE rows and no DEE.".to_owned());
    }
    for (seed, teachers) in experiment.teachers.iter().filter(|(_, teachers)| **teachers < most) {
        notes.push(match teachers {
            0 => format!("Seed {seed} has no teacher-1: it has no DE rows and no DEE."),
            _ => format!(
                "Seed {seed} has teachers 1..{teachers} of {most}: its DE rows and its DEE end there."
            ),
        });
    }
    if let Some(reference) = &experiment.reference {
        let (source, table, paper) = (&reference.source, &reference.table, &reference.paper);
        notes.push(format!("Published: {table} ({source}); {paper}."));
        let students = experiment.members.is_none_or(|members| members == reference.members);
        if experiment.preset != reference.preset || !students {
            notes.push(format!(
                "The published numbers belong to the full protocol (preset {}, {} members): differences from these \
                 runs (preset {}) say nothing about the reproduction.",
                reference.preset, reference.members, experiment.preset
            ));
        }
    }
    notes.extend(experiment.withheld.clone());
    notes.extend(experiment.doubts.iter().cloned());
    notes
}
