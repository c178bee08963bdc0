//! The table of results as HTML.

use maud::{Markup, html};

use crate::figure::Sources;
use crate::table::{headings, lines, notes};

/// Ours, and under each row the published numbers and the difference where there are some; and which analyses are left out.
pub(super) fn results(sources: &Sources) -> Markup {
    let experiment = &sources.experiment;
    html! {
        div.wide tabindex="0" role="region" aria-label="Results" {
            table.results {
                thead { tr { @for heading in headings() { th scope="col" { (heading) } } } }
                tbody {
                    @for line in lines(experiment) {
                        tr class=[(!line.ours).then_some("published")] {
                            th scope="row" { (line.label) }
                            @for cell in &line.cells { td { (cell) } }
                        }
                    }
                }
            }
        }
        @if experiment.reference.is_none() && experiment.withheld.is_none() {
            p.note { "Nothing is published for this experiment that these numbers could stand beside." }
        }
        @for note in notes(experiment).iter().chain(&sources.source.left_out) { p.note { (note) } }
        p.note {
            "ACC accuracy; NLL negative log-likelihood; BS Brier score; ECE expected calibration error; with c: after \
             temperature scaling; DEE deep-ensemble equivalent, ≤ or ≥ where some seed is beyond an end of the curve of \
             ensembles; KLD mean pairwise KL divergence between members on test images, nats."
        }
        p.note {
            "de-n: an ensemble of n teachers; kd: one network distilled from the ensemble; be: a BatchEnsemble trained on labels; \
             be-kd: one distilled one to one, on the training images; be-kd-gaussian, be-kd-ods, be-kd-conf-ods: the same on \
             images with Gaussian noise, perturbed by ODS, by ODS scaled by the confidence."
        }
    }
}
