//! Tier 3: the orderings that the paper states, each with its evidence.
//!
//! Every claim is about a difference within a seed, whose 95% interval over seeds decides. "More" holds where the
//! interval is above zero and fails where it is below; "not less" holds where it is above minus the margin and fails
//! where it is below zero; "alike" holds where the interval is within the margin and fails where it excludes zero and
//! its mean is beyond the margin. All else, fewer than two seeds, and a DEE that is a bound on some seed, is inconclusive:
//! two students that are both worse than one teacher have the same DEE of 1 and are not alike.

use std::collections::BTreeMap;

use super::interval::Interval;
use super::spread::pairs;
use super::{Finding, Section, Verdict};
use crate::Column;
use crate::analysis::Set;
use crate::table::{Experiment, Row};

/// How far DEE may differ where the paper calls two rows alike or one not worse. Its published numbers of distillation
/// with and without Gaussian noise differ by half of it.
pub const DEE_MARGIN: f64 = 0.25;

/// The teachers' mean pairwise KL on each set of training images by seed.
pub type TrainKld = BTreeMap<u64, BTreeMap<Set, f64>>;

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
    let train = |set: Set| -> BTreeMap<u64, f64> {
        train_kld.iter().filter_map(|(seed, values)| Some((*seed, *values.get(&set)?))).collect()
    };
    let kld = |name: &str| experiment.row(name).map(|row| row.values(Column::Kld)).unwrap_or_default();
    let claim =
        |what: &str, one: BTreeMap<u64, f64>, other: BTreeMap<u64, f64>| compare(what, More, &one, &other);
    let dee = |what: &str, relation: Relation, rows: [&str; 2]| compare_dee(what, relation, experiment, rows);
    let findings = vec![
        claim(
            "ODS raises the teachers' KLD on training images over clean ones",
            train(Set::Ods),
            train(Set::Clean),
        ),
        claim(
            "ODS raises the teachers' KLD on training images over Gaussian noise",
            train(Set::Ods),
            train(Set::Gaussian),
        ),
        claim(
            "ODS raises the student's KLD on test images over plain distillation",
            kld("be-kd-ods"),
            kld("be-kd"),
        ),
        dee("ODS has more DEE than Gaussian noise", More, ["be-kd-ods", "be-kd-gaussian"]),
        dee("ODS has more DEE than plain distillation", More, ["be-kd-ods", "be-kd"]),
        dee("ConfODS has no less DEE than ODS", NotLess, ["be-kd-conf-ods", "be-kd-ods"]),
        dee("Gaussian noise has the DEE of plain distillation", Alike, ["be-kd-gaussian", "be-kd"]),
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
    let pairs = pairs(one, other);
    let differences: Vec<f64> = pairs.iter().map(|(one, other)| one - other).collect();
    let means = |side: fn(&(f64, f64)) -> f64| pairs.iter().map(side).sum::<f64>() / pairs.len() as f64;
    let sides = format!("{:.4} and {:.4}", means(|pair| pair.0), means(|pair| pair.1));
    decide(what, relation, &differences, &sides)
}

/// Whether the values, one a seed, are above a `threshold`; `meaning` says of what, and whose it is.
pub(crate) fn above(what: &str, values: &BTreeMap<u64, f64>, threshold: f64, meaning: &str) -> Finding {
    let differences: Vec<f64> = values.values().map(|value| value - threshold).collect();
    let mean = values.values().sum::<f64>() / values.len() as f64;
    let sides = format!("{mean:.4} against {threshold} ({meaning})");
    decide(what, More, &differences, &sides)
}

/// [`compare`] of the DEEs of two rows. One that is at or beyond an end of its seed's curve is a bound, and what it may be
/// else would change the difference: then the claim stays open.
pub(crate) fn compare_dee(
    what: &str,
    relation: Relation,
    experiment: &Experiment,
    rows: [&str; 2],
) -> Finding {
    let [one, other] = rows.map(|name| experiment.row(name));
    let values = |row: Option<&Row>| row.map(|row| row.values(Column::Dee)).unwrap_or_default();
    let sides = [values(one), values(other)];
    let finding = compare(what, relation, &sides[0], &sides[1]);
    let bounds = |row: &Row| {
        let compared = row.bounds().keys().filter(|seed| sides.iter().all(|side| side.contains_key(seed)));
        let seeds: Vec<String> = compared.map(u64::to_string).collect();
        let word = if seeds.len() == 1 { "seed" } else { "seeds" };
        (!seeds.is_empty()).then(|| format!("{} ({word} {})", row.name, seeds.join(", ")))
    };
    let bounds: Vec<String> = [one, other].into_iter().flatten().filter_map(bounds).collect();
    if bounds.is_empty() {
        return finding;
    }
    let evidence = format!(
        "{}; beyond an end of the curve of ensembles, where a DEE is a bound and no value: {}",
        finding.evidence,
        bounds.join(" and ")
    );
    Finding { verdict: Verdict::Inconclusive, evidence, ..finding }
}

/// The verdict on differences, one a seed, between the `sides` of a claim.
fn decide(what: &str, relation: Relation, differences: &[f64], sides: &str) -> Finding {
    let finding = |verdict, evidence| Finding { what: what.to_owned(), verdict, evidence };
    if differences.is_empty() {
        return finding(Verdict::Inconclusive, "no seed has both sides".to_owned());
    }
    let Some(Interval { mean, low, high, count }) = Interval::of(differences) else {
        return finding(Verdict::Inconclusive, format!("{sides}: one seed has no spread"));
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
    let margin = match relation {
        More => String::new(),
        NotLess | Alike => format!(", margin {DEE_MARGIN} (ours)"),
    };
    finding(
        verdict,
        format!("{sides}, difference {mean:+.4} ({low:+.4} to {high:+.4}) over {count} seeds{margin}"),
    )
}
