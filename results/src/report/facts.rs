//! What ran, and on what.

use std::collections::BTreeSet;

use maud::{Markup, html};

use super::Section;
use crate::figure::Run;

/// A list of the facts that all runs share, or of each value where they differ.
pub(super) fn facts(section: &Section) -> Markup {
    let runs = &section.sources.runs;
    let each = |of: &dyn Fn(&Run) -> String| -> String {
        let values: BTreeSet<String> = runs.iter().map(of).filter(|value| !value.is_empty()).collect();
        values.into_iter().collect::<Vec<_>>().join("; ")
    };
    let seeds: BTreeSet<u64> = runs.iter().map(|run| run.info.seed).collect();
    let setting = |run: &Run, key: &str| match run.info.config.get(key) {
        Some(toml::Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    let data = |run: &Run| {
        let rows = run.info.data.rows;
        format!(
            "{}: {} training, {} validation, {} test images",
            run.info.data.source, rows.train, rows.val, rows.test
        )
    };
    let device = |run: &Run| {
        let threads = if run.info.threads == 1 { "thread" } else { "threads" };
        format!("{}, {} {threads}", run.info.device, run.info.threads)
    };
    let facts = [
        ("Experiment", each(&|run| format!("{}, preset {}", run.info.experiment, run.info.preset))),
        ("Network", each(&|run| setting(run, "network"))),
        ("Members of a student", each(&|run| setting(run, "members"))),
        ("Seeds", seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")),
        ("Data", each(&data)),
        ("Device", each(&device)),
        ("Commit", each(&|run| run.info.revision.clone())),
    ];
    html! {
        dl.facts {
            @for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}
