//! The gate on metrics, on made records: what passes, what a planted regression does, and how it reads.

use std::collections::BTreeSet;
use std::path::Path;

use results::Column;
use results::analysis::Set;
use results::check::claims::{self, TrainKld};
use results::check::golden::{Golden, TABLE};
use results::check::{Finding, Report, Section, Verdict, spread};
use results::figure::Id;
use results::record::{PREDICTIONS, Predictions};
use results::table::{Format, Table};

use crate::made::Made;

const STUDENTS: [&str; 4] = ["be-kd", "be-kd-gaussian", "be-kd-ods", "be-kd-conf-ods"];

/// Teachers and students of `seeds` seeds; `signal` is the ODS students' strength, the others have 2.
fn records(out: &Path, experiment: &'static str, preset: &'static str, seeds: u64, signal: f32) -> Table {
    for seed in 1..=seeds {
        for teacher in 1..=4 {
            Made::new(experiment, preset, &format!("teacher-{teacher}"), seed).write(out);
        }
        for row in STUDENTS {
            let signal = if row.ends_with("ods") { signal } else { 2.0 };
            Made::new(experiment, preset, row, seed).signal(signal).write(out);
        }
    }
    Table::build(out).unwrap()
}

fn verdicts(section: &Section, what: &str) -> Vec<Verdict> {
    let found = section.findings.iter().filter(|finding| finding.what.starts_with(what));
    found.map(|finding| finding.verdict).collect()
}

fn report(section: Section) -> Report {
    Report { sections: vec![section] }
}

/// Writes a golden of `table`, with `change` applied to its text, and reads it back.
fn golden(table: &Table, machine: &str, change: impl FnOnce(String) -> String) -> Golden {
    let folder = tempfile::tempdir().unwrap();
    Golden::new(table, machine).unwrap().write(folder.path()).unwrap();
    let path = folder.path().join(TABLE);
    let text = change(std::fs::read_to_string(&path).unwrap());
    std::fs::write(path, text).unwrap();
    Golden::read(folder.path()).unwrap()
}

/// The place of a column's mean in a line of the table.
fn place(column: Column) -> usize {
    let at = column as usize;
    // Behind the means that are shown come their deviations.
    3 + if at < Column::SHOWN { at } else { 2 * at }
}

/// The table's text with the value of one row and column times `factor`.
fn times(text: &str, row: &str, column: Column, factor: f64) -> String {
    let line = |line: &str| {
        let mut cells: Vec<String> = line.split(',').map(str::to_owned).collect();
        if cells[1] == row {
            let cell = &mut cells[place(column)];
            *cell = (cell.parse::<f64>().unwrap() * factor).to_string();
        }
        cells.join(",")
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

#[test]
fn a_table_passes_against_itself_on_any_machine() {
    let out = tempfile::tempdir().unwrap();
    let table = records(out.path(), "quick", "smoke", 1, 2.5);
    for machine in ["here", "elsewhere"] {
        let now = Golden::new(&table, "here").unwrap();
        let report = report(golden(&table, machine, |text| text).compare("quick-smoke", &now));
        assert_eq!(report.verdict(), Verdict::Pass, "{}", report.render());
    }
}

/// Every metric of every row, up and down, there and here.
#[test]
fn three_percent_on_any_metric_are_caught() {
    let out = tempfile::tempdir().unwrap();
    let table = records(out.path(), "quick", "smoke", 1, 2.5);
    let now = Golden::new(&table, "here").unwrap();
    for row in &table.experiments[0].rows {
        for column in Column::ALL.into_iter().filter(|column| row.cell(*column).is_some()) {
            for (machine, factor) in [("here", 1.0001), ("elsewhere", 1.03), ("elsewhere", 0.97)] {
                let was = golden(&table, machine, |text| times(&text, &row.name, column, factor));
                let section = was.compare("quick-smoke", &now);
                let failed = section.findings.iter().filter(|finding| finding.verdict == Verdict::Fail);
                let failed: Vec<&str> = failed.map(|finding| finding.what.as_str()).collect();
                assert_eq!(failed, [format!("{} {}", row.name, column.name())], "{machine} {factor}");
            }
        }
    }
    // A part in a thousand is rounding elsewhere, and a change here.
    let moved = |machine| golden(&table, machine, |text| times(&text, "be-kd", Column::Nll, 1.001));
    assert_eq!(report(moved("elsewhere").compare("quick-smoke", &now)).verdict(), Verdict::Pass);
    assert_eq!(report(moved("here").compare("quick-smoke", &now)).verdict(), Verdict::Fail);
}

/// Whose bits are the same is held to the same numbers.
#[test]
fn fused_multiply_adds_are_one_class() {
    let out = tempfile::tempdir().unwrap();
    let table = records(out.path(), "quick", "smoke", 1, 2.5);
    let verdict = |was: &str, is: &str| {
        let was = golden(&table, was, |text| times(&text, "be-kd", Column::Nll, 1.001));
        report(was.compare("quick-smoke", &Golden::new(&table, is).unwrap())).verdict()
    };
    let [avx512, avx2, portable] =
        ["avx512", "avx2", "portable"].map(|level| format!("x86_64-linux {level}"));
    assert_eq!(verdict(&avx512, &avx2), Verdict::Fail);
    assert_eq!(verdict(&avx2, &avx512), Verdict::Fail);
    assert_eq!(verdict(&avx2, "aarch64-linux portable"), Verdict::Fail);
    assert_eq!(verdict(&avx512, &portable), Verdict::Pass);
    assert_eq!(verdict(&avx512, "x86_64-macos avx2"), Verdict::Pass);
}

#[test]
fn new_rows_are_new_and_lost_ones_fail() {
    let out = tempfile::tempdir().unwrap();
    let table = records(out.path(), "quick", "smoke", 1, 2.5);
    let now = Golden::new(&table, "here").unwrap();
    let without = |text: String| {
        text.lines()
            .filter(|line| !line.contains("be-kd-ods"))
            .fold(String::new(), |all, line| all + line + "\n")
    };
    let old = golden(&table, "here", without);
    let new = old.compare("quick-smoke", &now);
    assert_eq!(verdicts(&new, "be-kd-ods"), [Verdict::New]);
    assert_eq!(report(new).verdict(), Verdict::Pass);
    let lost = golden(&table, "here", |text| text).compare("quick-smoke", &old);
    assert_eq!(verdicts(&lost, "be-kd-ods"), [Verdict::Fail]);

    let text = |error: results::Error| error.to_string();
    let folder = tempfile::tempdir().unwrap();
    assert!(text(Golden::read(folder.path()).unwrap_err()).contains(TABLE));
    for (content, expected) in
        [("a,b\n1,2\n", "expected the columns"), ("experiment,row,seeds,acc\nq,kd,1,x\n", "acc of kd")]
    {
        std::fs::write(folder.path().join(TABLE), content).unwrap();
        let message = text(Golden::read(folder.path()).unwrap_err());
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn a_failing_golden_reads_like_this() {
    let out = tempfile::tempdir().unwrap();
    let table = records(out.path(), "quick", "smoke", 1, 2.5);
    let now = Golden::new(&table, "x86_64-linux avx2").unwrap();
    let change = |text: String| {
        let text = times(&times(&text, "be-kd", Column::Nll, 1.03), "de-2", Column::Acc, 0.5);
        text.lines()
            .filter(|line| !line.contains("be-kd-gaussian"))
            .fold(String::new(), |all, line| all + line + "\n")
    };
    let section = golden(&table, "x86_64-linux portable", change).compare("quick-smoke", &now);
    insta::assert_snapshot!(report(section).render());
}

/// The same records pass; records whose likelihood is worse on every seed fail; one seed tells nothing.
#[test]
fn earlier_records_are_compared_seed_by_seed() {
    let (before, after, one) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let good = records(before.path(), "quick", "laptop", 3, 2.5);
    let bad = records(after.path(), "quick", "laptop", 3, 1.0);
    let single = records(one.path(), "quick", "laptop", 1, 1.0);
    let section = |now: &Table| spread::against_earlier(&now.experiments[0], good.experiments.first());
    assert_eq!(report(section(&good)).verdict(), Verdict::Pass);
    let worse = section(&bad);
    let of = |section: &Section, what: &str| verdicts(section, what)[0];
    assert_eq!(of(&worse, "be-kd-ods nll"), Verdict::Fail, "{}", report(worse.clone()).render());
    assert_eq!(of(&worse, "be-kd nll"), Verdict::Pass);
    assert_eq!(of(&worse, "de-1 nll"), Verdict::Pass);
    let better = spread::against_earlier(&good.experiments[0], bad.experiments.first());
    assert_eq!(of(&better, "be-kd-ods nll"), Verdict::Pass);
    assert_eq!(of(&section(&single), "be-kd-ods nll"), Verdict::Inconclusive);
    assert_eq!(report(section(&single)).verdict(), Verdict::Inconclusive);
    insta::assert_snapshot!(report(worse).render());
    // Worse than a single network before and after: both DEEs are 1, which says nothing of how much worse.
    let ends = [0.2, 0.1].map(|signal| {
        let folder = tempfile::tempdir().unwrap();
        records(folder.path(), "quick", "laptop", 3, signal)
    });
    let section = spread::against_earlier(&ends[1].experiments[0], ends[0].experiments.first());
    assert_eq!(of(&section, "be-kd-ods dee"), Verdict::Inconclusive, "{}", report(section.clone()).render());
    assert_eq!(of(&section, "be-kd dee"), Verdict::Pass);
    // An experiment of which there are no earlier records.
    let alone = report(spread::against_earlier(&good.experiments[0], None));
    assert_eq!(alone.verdict(), Verdict::Inconclusive);
    assert!(
        alone.render().contains("inconclusive  quick-laptop  not among the earlier records"),
        "{}",
        alone.render()
    );
}

/// Predictions that are nearly those of the seed before, so that the spread is small: 3% on a likelihood is caught.
#[test]
fn three_percent_over_seeds_are_caught() {
    let (before, after) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let good = records(before.path(), "quick", "laptop", 3, 2.5);
    records(after.path(), "quick", "laptop", 3, 2.5);
    // Logits times a factor below 1 that raises the seed's NLL by 3%, found by halving.
    for seed in 1..=3 {
        let path = after.path().join(format!("quick-laptop/be-kd-ods/seed-{seed}")).join(PREDICTIONS);
        let predictions = Predictions::read(&path).unwrap();
        let scaled = |factor: f32| {
            let mut scaled = predictions.clone();
            scaled.test.logits.iter_mut().for_each(|logit| *logit *= factor);
            scaled
        };
        let nll = |predictions: &Predictions| {
            let split = &predictions.test;
            let probs = metrics::Probs::mean_of_members(&split.logits, split.m, split.n, split.k).unwrap();
            metrics::nll(&probs, &split.labels).unwrap()
        };
        let goal = 1.03 * nll(&predictions);
        let (mut low, mut high) = (0.0_f32, 1.0_f32);
        for _ in 0..40 {
            let middle = f32::midpoint(low, high);
            if nll(&scaled(middle)) > goal { low = middle } else { high = middle }
        }
        std::fs::remove_file(&path).unwrap();
        scaled(low).write(&path).unwrap();
    }
    let bad = Table::build(after.path()).unwrap();
    let section = spread::against_earlier(&bad.experiments[0], good.experiments.first());
    assert_eq!(verdicts(&section, "be-kd-ods nll"), [Verdict::Fail], "{}", report(section.clone()).render());
    assert_eq!(verdicts(&section, "be-kd nll"), [Verdict::Pass]);
}

#[test]
fn published_numbers_belong_to_the_full_protocol() {
    let (paper, laptop) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let paper = records(paper.path(), "cifar100", "paper", 3, 2.5);
    let section = spread::against_published(&paper.experiments[0]).unwrap();
    assert_eq!(section.findings.len(), 8 * 7);
    let laptop = records(laptop.path(), "cifar100", "laptop", 2, 2.5);
    assert_eq!(spread::against_published(&laptop.experiments[0]), None);
}

fn kld(values: &[[f64; 4]]) -> TrainKld {
    let sets = |values: &[f64; 4]| Set::PAPER.into_iter().zip(*values).collect();
    (1..).zip(values.iter().map(sets)).collect()
}

#[test]
fn claims_hold_fail_or_stay_open() {
    let out = tempfile::tempdir().unwrap();
    let table = records(out.path(), "quick", "laptop", 3, 3.0);
    let experiment = &table.experiments[0];
    let raised = kld(&[[0.01, 0.012, 0.5, 0.4], [0.011, 0.012, 0.52, 0.4], [0.01, 0.011, 0.49, 0.4]]);
    let section = claims::evaluate(experiment, &raised);
    assert_eq!(verdicts(&section, "ODS raises the teachers'"), [Verdict::Pass; 2]);
    insta::assert_snapshot!(report(section).render());

    let lowered = kld(&[[0.5, 0.01, 0.1, 0.4], [0.52, 0.2, 0.11, 0.4], [0.49, 0.1, 0.1, 0.4]]);
    let section = claims::evaluate(experiment, &lowered);
    assert_eq!(verdicts(&section, "ODS raises the teachers'"), [Verdict::Fail, Verdict::Inconclusive]);
    for stored in [kld(&[[0.01, 0.01, 0.5, 0.4]]), TrainKld::new()] {
        let section = claims::evaluate(experiment, &stored);
        assert_eq!(verdicts(&section, "ODS raises the teachers'"), [Verdict::Inconclusive; 2]);
    }
}

/// Students that are all worse than one teacher have a DEE of 1, and those that are all better than four one of 4: not
/// because they are alike.
#[test]
fn a_dee_beyond_its_curve_decides_no_claim() {
    for (signal, end) in [(0.0, 1.0), (6.0, 4.0)] {
        let out = tempfile::tempdir().unwrap();
        for seed in 1..=3 {
            for teacher in 1..=4 {
                Made::new("quick", "smoke", &format!("teacher-{teacher}"), seed).write(out.path());
            }
            for row in STUDENTS {
                Made::new("quick", "smoke", row, seed).signal(signal).write(out.path());
            }
        }
        let table = Table::build(out.path()).unwrap();
        let experiment = &table.experiments[0];
        for row in STUDENTS {
            let values: Vec<f64> = experiment.row(row).unwrap().values(Column::Dee).into_values().collect();
            assert_eq!(values, [end; 3], "{row}");
        }
        let section = claims::evaluate(experiment, &TrainKld::new());
        let of_dee: Vec<&Finding> =
            section.findings.iter().filter(|finding| finding.what.contains("DEE")).collect();
        assert_eq!(of_dee.len(), 4);
        for Finding { what, verdict, evidence } in of_dee {
            assert_eq!(*verdict, Verdict::Inconclusive, "{what}: {evidence}");
            assert!(
                evidence.contains("a bound and no value") && evidence.contains("(seeds 1, 2, 3)"),
                "{evidence}"
            );
        }
        // The report's figure judges the same claim.
        let report = results::report::Section::read(&out.path().join("quick-smoke")).unwrap();
        let figure = report.figures.iter().find(|figure| figure.id == Id::Dee).unwrap();
        assert!(section.findings.contains(&figure.claim), "{:?}", figure.claim);
    }
}

/// A golden of before there were the columns of bounds: they are new, what it has is still compared.
#[test]
fn columns_that_a_golden_lacks_are_new() {
    let out = tempfile::tempdir().unwrap();
    let table = records(out.path(), "quick", "smoke", 1, 2.5);
    let now = Golden::new(&table, "here").unwrap();
    let without = |text: String| -> String {
        let line = |line: &str| line.rsplitn(3, ',').last().unwrap().to_owned() + "\n";
        text.lines().map(line).collect()
    };
    let older = golden(&table, "here", without).compare("quick-smoke", &now);
    assert_eq!(verdicts(&older, "dee_at_"), [Verdict::New; 2]);
    assert_eq!(report(older).verdict(), Verdict::Pass);
    let moved = golden(&table, "here", |text| without(times(&text, "be-kd", Column::Nll, 1.03)));
    assert_eq!(verdicts(&moved.compare("quick-smoke", &now), "be-kd nll"), [Verdict::Fail]);
    // Where it has them they count: DE-4 is at the end of its curve.
    let turned = golden(&table, "here", |text| {
        let line = |line: &str| match line.starts_with("quick-smoke,de-4,") {
            true => line.replace(",true,", ",false,") + "\n",
            false => line.to_owned() + "\n",
        };
        text.lines().map(line).collect()
    });
    assert_eq!(verdicts(&turned.compare("quick-smoke", &now), "de-4 dee_at_least"), [Verdict::Fail]);
}

/// METHODOLOGY.md lists each claim that is judged anywhere, in the words of the program.
#[test]
fn every_claim_is_in_the_methodology() {
    let out = tempfile::tempdir().unwrap();
    records(out.path(), "quick", "laptop", 2, 2.5);
    let report = results::report::Section::read(&out.path().join("quick-laptop")).unwrap();
    let text = include_str!("../../../METHODOLOGY.md");
    let figures = report.figures.iter().map(|figure| &figure.claim);
    let claims: BTreeSet<&str> =
        report.claims.iter().chain(figures).map(|claim| claim.what.as_str()).collect();
    assert_eq!(claims.len(), 13, "{claims:?}");
    for claim in claims {
        assert!(text.contains(&format!("| {claim} |")), "{claim}");
    }
}

#[test]
fn the_format_of_goldens_is_that_of_tables() {
    let out = tempfile::tempdir().unwrap();
    let table = records(out.path(), "quick", "smoke", 1, 2.5);
    let folder = tempfile::tempdir().unwrap();
    Golden::new(&table, "here").unwrap().write(folder.path()).unwrap();
    let stored = std::fs::read_to_string(folder.path().join(TABLE)).unwrap();
    assert_eq!(stored, table.render(Format::Csv));
}
