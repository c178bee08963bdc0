//! How each number can be had again: commands, commits, settings and hashes of the data.

use maud::{Markup, html};

use super::Section;
use crate::figure::Run;

/// Runs that one command line made with one commit on one device.
struct Group<'a> {
    first: &'a Run,
    /// Rows with their seeds, in the tables' order.
    rows: Vec<(&'a str, Vec<u64>)>,
}

/// The commands that made the records, with the rows and seeds that each made, and the settings and data behind them.
pub(super) fn provenance(section: &Section) -> Markup {
    let runs = &section.sources.runs;
    let made = groups(runs, |one, other| {
        let (one, other) = (&one.info, &other.info);
        (&one.command, &one.revision, &one.device, &one.machine, one.threads)
            == (&other.command, &other.revision, &other.device, &other.machine, other.threads)
            && (&one.versions, &one.protocol) == (&other.versions, &other.protocol)
    });
    let grouped = groups(runs, |one, other| settings(one) == settings(other));
    let data = groups(runs, |one, other| one.info.data == other.info.data);
    html! {
        p {
            "Check out the commit, run the command, and the rows come out again; on another kind of processor they are rounded \
             differently. A row " code { "de-n" } " is the average of the predictions of teachers 1 to n of its seed. "
            code { "divkd table" } " and " code { "divkd report" } " make everything on this page from the stored records."
        }
        @for group in &made {
            dl.facts {
                div { dt { "Command" } dd { code { (command(group.first)) } } }
                div { dt { "Commit" } dd { code { (group.first.info.revision) } } }
                div {
                    dt { "Device" }
                    dd {
                        (group.first.info.device) ", " (group.first.info.threads) " threads"
                        @if let Some(machine) = &group.first.info.machine { "; " (machine) }
                    }
                }
                div { dt { "Versions" } dd { (versions(group.first)) "; protocol " (group.first.info.protocol) } }
                div { dt { "Rows and seeds" } dd { (rows(group)) } }
            }
        }
        @for group in &data {
            dl.facts {
                div { dt { "Data" } dd { (group.first.info.data.source) ": " (group.first.info.data.note) } }
            }
            details {
                summary { "Data hashes (SHA-256)" @if data.len() > 1 { " of " (rows(group)) } }
                div.wide tabindex="0" role="region" aria-label="Data hashes" {
                    table {
                        tbody {
                            @for (file, hash) in &group.first.info.data.sha256 {
                                tr { th scope="row" { (file) } td.hash { code { (hash) } } }
                            }
                        }
                    }
                }
            }
        }
        @for group in &grouped {
            details {
                summary { "Settings" @if grouped.len() > 1 { " of " (rows(group)) } }
                pre { (toml::to_string(&settings(group.first)).unwrap_or_default()) }
            }
        }
    }
}

fn groups<'a>(runs: &'a [Run], same: impl Fn(&Run, &Run) -> bool) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    for run in runs {
        let at = groups.iter().position(|group| same(group.first, run)).unwrap_or_else(|| {
            groups.push(Group { first: run, rows: Vec::new() });
            groups.len() - 1
        });
        let rows = &mut groups[at].rows;
        match rows.iter_mut().find(|(row, _)| *row == run.info.row) {
            Some((_, seeds)) => seeds.push(run.info.seed),
            None => rows.push((&run.info.row, vec![run.info.seed])),
        }
    }
    groups
}

/// A run's command. Earlier versions noted the name of the program's file, which a checkout need not have.
fn command(run: &Run) -> String {
    let command = &run.info.command;
    match command.split_once(' ') {
        Some((program, options)) if program.starts_with("divkd") => format!("divkd {options}"),
        _ => command.clone(),
    }
}

/// What a run was made with. How many seeds were asked for changes none of them.
fn settings(run: &Run) -> toml::Table {
    let mut settings = run.info.config.clone();
    settings.remove("seeds");
    settings
}

fn versions(run: &Run) -> String {
    run.info.versions.iter().map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ")
}

/// `teacher-1 (1, 2, 3), kd (1, 2)`; seeds once where all rows have the same.
fn rows(group: &Group<'_>) -> String {
    let seeds = |seeds: &[u64]| seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
    let names = || group.rows.iter().map(|(row, _)| *row).collect::<Vec<_>>().join(", ");
    match group.rows.first() {
        Some((_, first)) if group.rows.iter().all(|(_, own)| own == first) => {
            format!("{}; seeds {}", names(), seeds(first))
        }
        _ => group
            .rows
            .iter()
            .map(|(row, own)| format!("{row} ({})", seeds(own)))
            .collect::<Vec<_>>()
            .join(", "),
    }
}
