//! The paper's claims with their verdicts.

use maud::{Markup, html};

use super::{Section, word};
use crate::check::Verdict;

/// A list of the claims with their evidence.
pub(super) fn claims(section: &Section) -> Markup {
    html! {
        p {
            "Each claim is about a difference within a seed, and its 95% interval over seeds decides; where the interval \
             leaves both open, the claim is inconclusive. The two numbers are the means of the two sides. This interval counts \
             the seeds alone, on these test images; that of the comparison above also counts which test images there are, so \
             the two differ for one difference."
        }
        ul.claims {
            @for claim in &section.claims {
                li { (badge(claim.verdict)) " " (claim.what) "." p.note { (claim.evidence) } }
            }
        }
    }
}

/// The verdict in a few letters, told apart by more than its colour.
pub(super) fn badge(verdict: Verdict) -> Markup {
    let (class, sign) = match verdict {
        Verdict::Pass => ("verdict holds", "✓"),
        Verdict::Fail => ("verdict fails", "✗"),
        Verdict::Inconclusive | Verdict::New => ("verdict undecided", "?"),
    };
    html! { span class=(class) { (sign) " " (word(verdict)) } }
}
