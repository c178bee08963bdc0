//! Paired comparisons against intervals worked out here, and verdicts on rows that differ as made.

use std::path::Path;

use results::compare::{BASELINE, Difference, Verdict, compare, sheet};
use results::sheet::render;
use results::table::{Format, Table};
use results::{Column, Error};

use crate::made::Made;

/// Seeds with three teachers, the baseline and students as good as their signal says.
fn make(out: &Path, seeds: u64) {
    for seed in 1..=seeds {
        for n in 1..=3 {
            Made::new("quick", "smoke", &format!("teacher-{n}"), seed).write(out);
        }
        for (row, signal) in [("be-kd", 1.5), ("be", 0.0), ("be-kd-ods", 5.0), ("kd", 1.5)] {
            Made::new("quick", "smoke", row, seed).signal(signal).write(out);
        }
    }
}

fn of<'a>(found: &'a [Difference], row: &str, column: Column) -> &'a Difference {
    found.iter().find(|one| one.row == row && one.column == column).unwrap()
}

#[test]
fn values_are_those_of_the_table_and_clear_differences_are_found() {
    let out = tempfile::tempdir().unwrap();
    make(out.path(), 3);
    let folder = out.path().join("quick-smoke");
    let found = compare(&folder, BASELINE, 400).unwrap();
    let table = Table::build(&folder).unwrap();
    let rows = &table.experiments[0].rows;
    let cell = |row: &str, column| rows.iter().find(|own| own.name == row).unwrap().cell(column);
    for one in &found {
        assert_eq!(one.seeds, [1, 2, 3]);
        let (own, baseline) = (cell(&one.row, one.column).unwrap(), cell(BASELINE, one.column).unwrap());
        assert!(
            (one.value - own.mean).abs() < 1e-9 && (one.baseline - baseline.mean).abs() < 1e-9,
            "{one:?}"
        );
        assert!(one.low <= one.high, "{one:?}");
    }
    let names: Vec<&str> = found.iter().map(|one| one.row.as_str()).collect();
    let mut once = names.clone();
    once.dedup();
    assert_eq!(once, ["de-1", "de-2", "de-3", "kd", "be", "be-kd-ods"]);
    for (row, verdict) in [("be-kd-ods", Verdict::Better), ("be", Verdict::Worse)] {
        for column in [Column::Acc, Column::Nll, Column::Bs] {
            let one = of(&found, row, column);
            assert_eq!(one.verdict, verdict, "{one:?}");
        }
    }
    // One network has no diversity to compare.
    let of_members = [Column::Kld, Column::Dis];
    assert!(!found.iter().any(|one| one.row == "kd" && of_members.contains(&one.column)));
    assert!(of_members.map(|column| of(&found, "be-kd-ods", column)).iter().all(|one| one.low < one.high));
    assert_eq!(compare(&folder, BASELINE, 400).unwrap(), found, "equal records give equal intervals");
}

/// A student that is worse than one teacher on every seed has a DEE of 1, whose distance from the baseline's is too small
/// by an unknown number; that of DE-1 is 1.
#[test]
fn a_dee_beyond_its_curve_decides_nothing() {
    let out = tempfile::tempdir().unwrap();
    // Seeds on which the baseline is within its curve.
    for seed in [1, 3, 5, 7, 8, 10] {
        for n in 1..=3 {
            Made::new("quick", "smoke", &format!("teacher-{n}"), seed).write(out.path());
        }
        for (row, signal) in [("be-kd", 1.5), ("be", 0.0)] {
            Made::new("quick", "smoke", row, seed).signal(signal).write(out.path());
        }
    }
    let found = compare(&out.path().join("quick-smoke"), BASELINE, 400).unwrap();
    let [be, one] = ["be", "de-1"].map(|row| of(&found, row, Column::Dee));
    for difference in [be, one] {
        assert!(difference.value == 1.0 && difference.high < 0.0, "{difference:?}");
    }
    assert_eq!((be.is_bound, be.verdict), (true, Verdict::Inconclusive));
    assert_eq!((one.is_bound, one.verdict), (false, Verdict::Worse));
    assert!(found.iter().all(|one| one.column == Column::Dee || !one.is_bound));
    let notes = sheet("quick-smoke", BASELINE, &found).notes;
    assert!(notes.iter().any(|note| note.contains("a bound and no value")), "{notes:?}");
}

/// With one seed a replicate resamples the images alone: the accuracy's interval is that of a mean of paired differences,
/// mean +- 2.228 standard errors, to the precision of 2000 replicates.
/// Only one of the seeds has the teachers that a DEE is read from.
#[test]
fn a_column_has_the_seeds_that_have_its_values() {
    let out = tempfile::tempdir().unwrap();
    make(out.path(), 3);
    let folder = out.path().join("quick-smoke");
    for teacher in ["teacher-1", "teacher-2", "teacher-3"] {
        for seed in ["seed-2", "seed-3"] {
            std::fs::remove_dir_all(folder.join(teacher).join(seed)).unwrap();
        }
    }
    let found = compare(&folder, BASELINE, 400).unwrap();
    assert_eq!(of(&found, "be-kd-ods", Column::Nll).seeds, [1, 2, 3]);
    let dee = of(&found, "be-kd-ods", Column::Dee);
    assert_eq!((dee.seeds.as_slice(), dee.verdict), ([1].as_slice(), Verdict::Inconclusive));
}

#[test]
fn one_seed_covers_the_images_and_decides_nothing() {
    let out = tempfile::tempdir().unwrap();
    make(out.path(), 1);
    let folder = out.path().join("quick-smoke");
    let found = compare(&folder, BASELINE, 2000).unwrap();
    assert!(found.iter().all(|one| one.verdict == Verdict::Inconclusive));
    let hits = |row: &str, signal| {
        let test = Made::new("quick", "smoke", row, 1).signal(signal).predictions().test;
        let probs = test.probs().unwrap();
        let hit = |(row, label): (&[f64], &u32)| {
            let best = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            f64::from(u8::from(best == *label as usize))
        };
        probs.rows().zip(&test.labels).map(hit).collect::<Vec<f64>>()
    };
    let differences: Vec<f64> =
        hits("be-kd-ods", 5.0).iter().zip(hits("be-kd", 1.5)).map(|(own, baseline)| own - baseline).collect();
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n;
    let variance = differences.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (n - 1.0);
    let error = (variance / n).sqrt();
    let one = of(&found, "be-kd-ods", Column::Acc);
    assert!((one.mean() - mean).abs() < 1e-9);
    assert!((one.low - (mean - 2.228 * error)).abs() < 0.15 * error, "{one:?} {mean} {error}");
    assert!((one.high - (mean + 2.228 * error)).abs() < 0.15 * error, "{one:?} {mean} {error}");
}

/// Seeds enter too: one that is better, one that is alike and one that is worse decide nothing.
#[test]
fn the_spread_over_seeds_widens_the_interval() {
    let out = tempfile::tempdir().unwrap();
    for (seed, signal) in [(1, 0.5), (2, 1.5), (3, 4.0)] {
        Made::new("quick", "smoke", "be-kd", seed).signal(1.5).write(out.path());
        Made::new("quick", "smoke", "be-kd-ods", seed).signal(signal).write(out.path());
    }
    let found = compare(&out.path().join("quick-smoke"), BASELINE, 1000).unwrap();
    let nll = of(&found, "be-kd-ods", Column::Nll);
    assert_eq!(nll.verdict, Verdict::Inconclusive, "{nll:?}");
    assert!(nll.low < 0.0 && nll.high > 0.0, "{nll:?}");
    // Without teachers there is no curve and no equivalent.
    assert!(!found.iter().any(|one| one.column == Column::Dee));
}

/// Any row may be the baseline: the difference turns round, and the table names what it is against.
#[test]
fn another_row_can_be_the_baseline() {
    let out = tempfile::tempdir().unwrap();
    make(out.path(), 2);
    let folder = out.path().join("quick-smoke");
    let found = compare(&folder, "be-kd-ods", 100).unwrap();
    let turned = compare(&folder, BASELINE, 100).unwrap();
    let [one, other] = [of(&found, BASELINE, Column::Nll), of(&turned, "be-kd-ods", Column::Nll)];
    assert!((one.mean() + other.mean()).abs() < 1e-12 && one.mean() > 0.0, "{one:?} {other:?}");
    let sheet = sheet("quick-smoke", "be-kd-ods", &found);
    assert_eq!(
        (sheet.title.as_str(), sheet.headings[4].as_str()),
        ("quick-smoke: against be-kd-ods", "be-kd-ods")
    );
}

#[test]
fn without_a_baseline_there_is_nothing_to_compare() {
    let out = tempfile::tempdir().unwrap();
    Made::new("quick", "smoke", "be", 1).write(out.path());
    assert_eq!(compare(&out.path().join("quick-smoke"), BASELINE, 10).unwrap(), []);
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(compare(empty.path(), BASELINE, 10), Err(Error::NoRecords { .. })));
}

#[test]
fn the_table_in_every_format() {
    let out = tempfile::tempdir().unwrap();
    make(out.path(), 2);
    let mut found = compare(&out.path().join("quick-smoke"), BASELINE, 200).unwrap();
    found.retain(|one| ["be-kd-ods", "kd"].contains(&one.row.as_str()));
    let sheets = [sheet("quick-smoke", BASELINE, &found)];
    insta::assert_snapshot!("compare_term", render(&sheets, Format::Term));
    insta::assert_snapshot!("compare_md", render(&sheets, Format::Md));
    insta::assert_snapshot!("compare_latex", render(&sheets, Format::Latex));
    insta::assert_snapshot!("compare_csv", crate::table::rounded(&render(&sheets, Format::Csv)));
}
