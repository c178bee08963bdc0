//! Tier 3: the orderings that the paper states, each with its evidence.
//!
//! Every claim is about a difference within a seed, whose 95% interval over seeds decides. "More" holds where the
//! interval is above zero and fails where it is below; "not less" holds where it is above minus the margin and fails
//! where it is below zero; "alike" holds where the interval is within the margin and fails where it excludes zero and
//! its mean is beyond the margin. All else, and fewer than two seeds, is inconclusive.

use std::collections::BTreeMap;

use super::interval::Interval;
use super::spread::pairs;
use super::{Finding, Section, Verdict};
use crate::Column;
use crate::table::Experiment;

/// How far DEE may differ where the paper calls two rows alike or one not worse. Its published numbers of distillation
/// with and without Gaussian noise differ by half of it.
pub const DEE_MARGIN: f64 = 0.25;

/// The teachers' mean pairwise KL on training images by seed, in the order of [`Set::ALL`](crate::analysis::Set::ALL).
pub type TrainKld = BTreeMap<u64, [f64; 4]>;

/// How the first side of a claim is to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relation {
    More,
    NotLess,
    Alike,
}

use Relation::{Alike, More, NotLess};

/// Evaluates every claim on the records of `experiment` and the diversity stored beside them.
pub fn evaluate(experiment: &Experiment, train_kld: &TrainKld) -> Section {
    let train = |index: usize| -> BTreeMap<u64, f64> {
        train_kld.iter().map(|(seed, values)| (*seed, values[index])).collect()
    };
    let row = |column: Column| {
        move |name: &str| {
            let row = experiment.rows.iter().find(|row| row.name == name);
            row.map(|row| row.values(column)).unwrap_or_default()
        }
    };
    let (dee, kld) = (row(Column::Dee), row(Column::Kld));
    let claim = |what: &str, relation: Relation, one: BTreeMap<u64, f64>, other: BTreeMap<u64, f64>| {
        compare(what, relation, &one, &other)
    };
    let findings = vec![
        claim("ODS raises the teachers' KLD on training images over clean ones", More, train(2), train(0)),
        claim("ODS raises it over Gaussian noise", More, train(2), train(1)),
        claim("ODS raises the student's KLD over plain distillation", More, kld("be-kd-ods"), kld("be-kd")),
        claim("ODS has more DEE than Gaussian noise", More, dee("be-kd-ods"), dee("be-kd-gaussian")),
        claim("ODS has more DEE than plain distillation", More, dee("be-kd-ods"), dee("be-kd")),
        claim("ConfODS has no less DEE than ODS", NotLess, dee("be-kd-conf-ods"), dee("be-kd-ods")),
        claim("Gaussian noise has the DEE of plain distillation", Alike, dee("be-kd-gaussian"), dee("be-kd")),
    ];
    Section::of_claims(format!("{}: the paper's claims", experiment.folder), findings)
}

/// Whether the values of one side are to those of the other as `what` says, seed by seed.
pub(crate) fn compare(
    what: &str,
    relation: Relation,
    one: &BTreeMap<u64, f64>,
    other: &BTreeMap<u64, f64>,
) -> Finding {
    let (verdict, evidence) = decide(relation, &pairs(one, other));
    Finding { what: what.to_owned(), verdict, evidence }
}

/// The verdict on pairs of the first and the second side's values, a pair a seed.
fn decide(relation: Relation, pairs: &[(f64, f64)]) -> (Verdict, String) {
    let differences: Vec<f64> = pairs.iter().map(|(one, other)| one - other).collect();
    let means = |side: fn(&(f64, f64)) -> f64| pairs.iter().map(side).sum::<f64>() / pairs.len() as f64;
    if differences.is_empty() {
        return (Verdict::Inconclusive, "no seed has both sides".to_owned());
    }
    let both = format!("{:.4} and {:.4}", means(|pair| pair.0), means(|pair| pair.1));
    let Some(Interval { mean, low, high, count }) = Interval::of(&differences) else {
        return (Verdict::Inconclusive, format!("{both}: one seed has no spread"));
    };
    let (holds, fails) = match relation {
        More => (low > 0.0, high < 0.0),
        NotLess => (low > -DEE_MARGIN, high < 0.0),
        Alike => {
            (low > -DEE_MARGIN && high < DEE_MARGIN, (low > 0.0 || high < 0.0) && mean.abs() > DEE_MARGIN)
        }
    };
    let verdict = match (holds, fails) {
        (true, _) => Verdict::Pass,
        (false, true) => Verdict::Fail,
        (false, false) => Verdict::Inconclusive,
    };
    (verdict, format!("{both}, difference {mean:+.4} ({low:+.4} to {high:+.4}) over {count} seeds"))
}
