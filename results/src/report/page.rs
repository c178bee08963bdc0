//! The page: its frame, its style, and each experiment's section.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Section, claims, facts, paired, provenance, tables};
use crate::figure::{Figure, style};

/// The page's own style; colours come from the figures' palette.
const STYLE: &str = include_str!("style.css");

/// The paper, as the page's foot names it.
const PAPER: &str =
    "Nam, Yoon, Lee, Lee: Diversity Matters When Learning From Ensembles. NeurIPS 2021, arXiv 2110.14149.";

/// The report about `sections`, one an experiment, as HTML.
pub fn page(sections: &[Section]) -> String {
    let names: Vec<&str> = sections.iter().map(Section::name).collect();
    let title = format!("divkd: {}", names.join(", "));
    let (light, dark) = (style::variables(style::light), style::variables(style::dark));
    let css = format!(
        ":root{{color-scheme:light dark;{light}}}\
         @media (prefers-color-scheme:dark){{:root{{{dark}}}}}\
         @media print{{:root{{color-scheme:light;{light}}}}}\n{}\n{STYLE}",
        style::sheet(|name| format!("var(--{name})"))
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(css)) }
            }
            body {
                header {
                    h1 { "Learning from ensembles: " (names.join(", ")) }
                    p {
                        "Deep ensembles and the students that were distilled from them, trained and scored by divkd. Numbers \
                         are means over seeds, each seed a whole repetition with its own teachers; ± is one standard \
                         deviation."
                    }
                    @if sections.len() > 1 {
                        nav { ul { @for name in &names { li { a href=(format!("#{}", anchor(name))) { (name) } } } } }
                    }
                }
                @for (at, section) in sections.iter().enumerate() { (experiment(section, at == 0)) }
                footer { p { (PAPER) } }
            }
        }
    };
    page.into_string() + "\n"
}

/// The id of an experiment's section, which no figure has.
fn anchor(name: &str) -> String {
    format!("experiment-{name}")
}

fn experiment(section: &Section, is_first: bool) -> Markup {
    html! {
        section id=(anchor(section.name())) {
            h2 { (section.name()) }
            (facts::facts(section))
            h3 { "Results" }
            (tables::results(&section.sources))
            h3 { "Against plain distillation, pair by pair" }
            (paired::paired(section))
            h3 { "The paper's claims in these runs" }
            (claims::claims(section))
            h3 { "Figures" }
            div.figures { @for figure in &section.figures { (one(section, figure, is_first)) } }
            h3 { "How to get these numbers again" }
            (provenance::provenance(section))
        }
    }
}

fn one(section: &Section, figure: &Figure, is_first: bool) -> Markup {
    let name = figure.id.name();
    let id = if is_first { name.to_owned() } else { format!("{}-{name}", section.name()) };
    let marks = figure.drawing.as_ref().map_or(0, |drawing| drawing.marks);
    html! {
        figure id=(id) data-figure=(name) data-marks=(marks) {
            h4 { (figure.id.title()) }
            @match &figure.drawing {
                Ok(drawing) => (PreEscaped(drawing.inline(figure.id.title()))),
                Err(why) => p.absent { (why) },
            }
            figcaption {
                @if !figure.number.is_empty() { p { strong { (figure.number) "." } } }
                p { (figure.sentence) }
                p {
                    "The paper's claim: " (figure.claim.what) ". " (claims::badge(figure.claim.verdict))
                    " in these runs: " (figure.claim.evidence) "."
                }
            }
        }
    }
}
