//! Tables: the rows against scores computed here from the same predictions, and snapshots of every format.

use std::fs;
use std::path::Path;

use crate::made::{self, Made};
use metrics::{Probs, Scores, dee, fit_temperature, mean_pairwise_kl, score};
use results::check::spread;
use results::record::{PREDICTIONS, Predictions, Split};
use results::rows::{STUDENTS, teacher};
use results::table::{Bound, Experiment, Format, Row, Table};
use results::{Column, Error};

/// Teachers 1..`teachers` and all students of a seed; students get better in the paper's order.
fn make_seed(out: &Path, experiment: &'static str, preset: &'static str, seed: u64, teachers: usize) {
    for n in 1..=teachers {
        Made::new(experiment, preset, &teacher(n), seed).write(out);
    }
    for (row, signal) in STUDENTS.iter().zip([2.1, 1.4, 1.5, 1.6, 1.8, 3.5]) {
        Made::new(experiment, preset, row, seed).signal(signal).write(out);
    }
}

fn only(table: &Table) -> &Experiment {
    assert_eq!(table.experiments.len(), 1);
    &table.experiments[0]
}

fn row<'a>(experiment: &'a Experiment, name: &str) -> &'a Row {
    experiment.rows.iter().find(|row| row.name == name).unwrap()
}

fn names(experiment: &Experiment) -> Vec<&str> {
    experiment.rows.iter().map(|row| row.name.as_str()).collect()
}

/// Scores of the average of plain networks, from the definition: probabilities averaged, then scaled.
fn expected(networks: &[Predictions]) -> Scores {
    let mean = |splits: Vec<&Split>| {
        let (n, k) = (splits[0].n, splits[0].k);
        let mut values = vec![0.0; n * k];
        for split in &splits {
            for (sum, p) in values.iter_mut().zip(split.probs().unwrap().values()) {
                *sum += p / splits.len() as f64;
            }
        }
        Probs::new(n, k, values).unwrap()
    };
    let val = mean(networks.iter().map(|p| &p.val).collect());
    let test = mean(networks.iter().map(|p| &p.test).collect());
    let temperature = fit_temperature(&val, &networks[0].val.labels).unwrap();
    score(&test, &networks[0].test.labels, temperature).unwrap()
}

fn close(found: Option<f64>, expected: f64, what: &str) {
    let found = found.unwrap();
    assert!((found - expected).abs() < 1e-9, "{what}: {found}, expected {expected}");
}

#[test]
fn rows_are_the_scores_of_the_predictions() {
    let out = tempfile::tempdir().unwrap();
    make_seed(out.path(), "quick", "smoke", 1, 3);
    let table = Table::build(out.path()).unwrap();
    let experiment = only(&table);
    assert_eq!(
        names(experiment),
        ["de-1", "de-2", "de-3", "kd", "be", "be-kd", "be-kd-gaussian", "be-kd-ods", "be-kd-conf-ods"]
    );
    assert_eq!((experiment.ensemble(), experiment.members), (3, Some(4)));

    let teachers: Vec<Predictions> =
        (1..=3).map(|n| Made::new("quick", "smoke", &teacher(n), 1).predictions()).collect();
    let ensembles: Vec<Scores> = (1..=3).map(|n| expected(&teachers[..n])).collect();
    let curve: Vec<f64> = ensembles.iter().map(|scores| scores.cnll).collect();
    for (n, scores) in (1..).zip(&ensembles) {
        let row = row(experiment, &format!("de-{n}"));
        let mean = |column| row.cell(column).map(|cell| cell.mean);
        close(mean(Column::Acc), scores.acc, "acc");
        close(mean(Column::Nll), scores.nll, "nll");
        close(mean(Column::Bs), scores.bs, "bs");
        close(mean(Column::Ece), scores.ece, "ece");
        close(mean(Column::Cnll), scores.cnll, "cnll");
        close(mean(Column::Cbs), scores.cbs, "cbs");
        close(mean(Column::Cece), scores.cece, "cece");
        close(mean(Column::Dee), dee(&curve, scores.cnll).unwrap().value, "dee");
    }
    assert_eq!(row(experiment, "de-1").cell(Column::Kld), None);
    let pair = [teachers[0].test.logits.clone(), teachers[1].test.logits.clone()].concat();
    let kld = mean_pairwise_kl(&pair, 2, 60, made::CLASSES).unwrap();
    close(row(experiment, "de-2").cell(Column::Kld).map(|cell| cell.mean), kld, "kld");

    // Pairs of top classes, counted here.
    let [one, other] = [0, 1].map(|n: usize| {
        let best = |row: &[f32]| {
            row.iter().enumerate().fold(0, |best, (class, z)| if *z > row[best] { class } else { best })
        };
        teachers[n].test.logits.chunks(made::CLASSES).map(best).collect::<Vec<_>>()
    });
    let differ = one.iter().zip(&other).filter(|(one, other)| one != other).count();
    assert!(differ > 0);
    let dis = row(experiment, "de-2").cell(Column::Dis).map(|cell| cell.mean);
    close(dis, differ as f64 / 60.0, "dis");

    assert_eq!(row(experiment, "kd").cell(Column::Kld), None);
    assert_eq!(row(experiment, "kd").cell(Column::Dis), None);
    let kd = expected(&[Made::new("quick", "smoke", "kd", 1).signal(2.1).predictions()]);
    close(row(experiment, "kd").cell(Column::Cnll).map(|cell| cell.mean), kd.cnll, "cnll of kd");
    let best = row(experiment, "be-kd-conf-ods").cell(Column::Dee).unwrap();
    assert_eq!((best.mean, best.bound, best.std), (3.0, Some(Bound::AtLeast), None));
}

/// DEE is read off each seed's own curve and then averaged, which differs from reading off averaged curves.
#[test]
fn equivalents_are_averaged_over_seeds() {
    let out = tempfile::tempdir().unwrap();
    let of = |seed| {
        let one = tempfile::tempdir().unwrap();
        make_seed(one.path(), "quick", "smoke", seed, 3);
        let table = Table::build(one.path()).unwrap();
        row(only(&table), "be").cell(Column::Dee).unwrap().mean
    };
    let (first, second) = (of(1), of(2));
    assert_ne!(first, second);
    make_seed(out.path(), "quick", "smoke", 1, 3);
    make_seed(out.path(), "quick", "smoke", 2, 3);
    let table = Table::build(out.path()).unwrap();
    let cell = row(only(&table), "be").cell(Column::Dee).unwrap();
    close(Some(cell.mean), (first + second) / 2.0, "mean");
    close(cell.std, (first - second).abs() / 2.0_f64.sqrt(), "std of two");
}

#[test]
fn seeds_and_teachers_that_are_missing_are_left_out() {
    let out = tempfile::tempdir().unwrap();
    make_seed(out.path(), "quick", "smoke", 1, 3);
    make_seed(out.path(), "quick", "smoke", 2, 3);
    let experiment = out.path().join("quick-smoke");
    fs::remove_dir_all(experiment.join("be/seed-2")).unwrap();
    fs::remove_dir_all(experiment.join("teacher-2/seed-2")).unwrap();
    let table = Table::build(&experiment).unwrap();
    let experiment = only(&table);
    assert_eq!(row(experiment, "be").seeds, 1);
    assert_eq!(row(experiment, "be").cell(Column::Acc).unwrap().std, None);
    assert_eq!(row(experiment, "kd").seeds, 2);
    assert_eq!((row(experiment, "de-1").seeds, row(experiment, "de-2").seeds), (2, 1));
    let text = table.render(Format::Term);
    assert!(text.contains("Seed 2 has teachers 1..1 of 3"), "{text}");
    assert!(text.contains("different numbers of seeds"), "{text}");
    assert!(text.contains("One seed cannot order the students"), "{text}");
}

#[test]
fn students_without_teachers_have_no_equivalent() {
    let out = tempfile::tempdir().unwrap();
    for seed in [1, 2] {
        Made::new("quick", "smoke", "be", seed).write(out.path());
        Made::new("quick", "smoke", "kd", seed).write(out.path());
    }
    let table = Table::build(&out.path().join("quick-smoke/be")).unwrap();
    assert_eq!(names(only(&table)), ["be"]);
    assert_eq!(row(only(&table), "be").cell(Column::Dee), None);
    assert_eq!(only(&table).folder, "quick-smoke");
}

#[test]
fn other_rows_come_last_by_name() {
    let out = tempfile::tempdir().unwrap();
    for row in ["zoo", "be-kd", "latent-be", "teacher-1"] {
        Made::new("quick", "smoke", row, 1).write(out.path());
    }
    assert_eq!(names(only(&Table::build(out.path()).unwrap())), ["de-1", "be-kd", "latent-be", "zoo"]);
}

#[test]
fn runs_that_cannot_be_compared_are_refused() {
    let refused = |make: &dyn Fn(&Path), wanted: &str| {
        let out = tempfile::tempdir().unwrap();
        Made::new("quick", "smoke", "teacher-1", 1).write(out.path());
        make(out.path());
        let error = Table::build(out.path()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    refused(
        &|out| {
            Made::new("quick", "smoke", "teacher-2", 1).members(2).write(out);
        },
        "members of a teacher: expected 1, found 2",
    );
    refused(
        &|out| {
            let kd = Made::new("quick", "smoke", "kd", 1);
            let mut predictions = kd.predictions();
            predictions.test.labels[0] = (predictions.test.labels[0] + 1) % 5;
            predictions.write(&kd.draft(out).join(PREDICTIONS)).unwrap();
            kd.place().finish(out).unwrap();
        },
        "test.labels: expected the labels of",
    );
    refused(
        &|out| {
            let kd = Made::new("quick", "smoke", "kd", 1);
            let mut predictions = kd.predictions();
            predictions.test.logits[7] = f32::NAN;
            predictions.write(&kd.draft(out).join(PREDICTIONS)).unwrap();
            kd.place().finish(out).unwrap();
        },
        "quick-smoke/kd/seed-1/predictions.safetensors, test images",
    );
    refused(
        &|out| {
            Made::new("other", "smoke", "kd", 1).write(out);
            fs::rename(out.join("other-smoke/kd"), out.join("quick-smoke/kd")).unwrap();
        },
        "experiment and preset: expected quick-smoke, found other-smoke",
    );
    refused(
        &|out| fs::remove_file(out.join("quick-smoke/teacher-1/seed-1/metrics.csv")).unwrap(),
        "metrics.csv is missing",
    );
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Table::build(empty.path()), Err(Error::NoRecords { .. })));
}

/// The CSV's numbers are the cells' to the last bit, and its header the documented one.
#[test]
fn csv_keeps_every_bit() {
    let out = tempfile::tempdir().unwrap();
    make_seed(out.path(), "quick", "smoke", 1, 2);
    make_seed(out.path(), "quick", "smoke", 2, 2);
    let table = Table::build(out.path()).unwrap();
    let text = table.render(Format::Csv);
    let mut lines = text.lines();
    assert_eq!(
        lines.next().unwrap(),
        "experiment,row,seeds,acc,nll,bs,ece,cnll,cbs,cece,dee,kld,\
         acc_std,nll_std,bs_std,ece_std,cnll_std,cbs_std,cece_std,dee_std,kld_std,dis,dis_std,dee_at_least,dee_at_most"
    );
    for row in &only(&table).rows {
        let cells: Vec<&str> = lines.next().unwrap().split(',').collect();
        assert_eq!(cells[..3], ["quick-smoke", row.name.as_str(), "2"]);
        let (numbers, flags) = cells[3..].split_at(2 * Column::ALL.len());
        let parsed: Vec<Option<f64>> = numbers.iter().map(|cell| cell.parse().ok()).collect();
        let means = Column::ALL.map(|column| row.cell(column).map(|cell| cell.mean));
        let stds = Column::ALL.map(|column| row.cell(column).and_then(|cell| cell.std));
        let (means, dis) = means.split_at(Column::SHOWN);
        let (stds, dis_std) = stds.split_at(Column::SHOWN);
        assert_eq!(parsed, [means, stds, dis, dis_std].concat());
        // Either end of the curve, on some seed: at or below the loss of DE-2, above that of DE-1.
        let [own, first, last] = [row.name.as_str(), "de-1", "de-2"]
            .map(|name| only(&table).row(name).unwrap().values(Column::Cnll));
        let any = |is: &dyn Fn(&u64) -> bool| own.keys().any(is).to_string();
        let ends = [any(&|seed| own[seed] <= last[seed]), any(&|seed| own[seed] > first[seed])];
        assert_eq!(flags, ends, "{}", row.name);
    }
    assert_eq!(lines.next(), None);
}

/// Rounds the numbers of a CSV to what a snapshot shows of them.
pub(crate) fn rounded(csv: &str) -> String {
    let cell = |cell: &str| match cell.parse::<f64>() {
        Ok(number) if cell.contains('.') => format!("{number:.6}"),
        _ => cell.to_owned(),
    };
    csv.lines().map(|line| line.split(',').map(cell).collect::<Vec<_>>().join(",") + "\n").collect()
}

#[test]
fn one_seed_without_published_numbers() {
    let out = tempfile::tempdir().unwrap();
    make_seed(out.path(), "quick", "smoke", 1, 4);
    let table = Table::build(out.path()).unwrap();
    insta::assert_snapshot!("quick_term", table.render(Format::Term));
    insta::assert_snapshot!("quick_csv", rounded(&table.render(Format::Csv)));
    insta::assert_snapshot!("quick_md", table.render(Format::Md));
    insta::assert_snapshot!("quick_latex", table.render(Format::Latex));
}

#[test]
fn several_experiments_with_published_numbers() {
    let out = tempfile::tempdir().unwrap();
    for seed in [1, 2] {
        make_seed(out.path(), "cifar100", "laptop", seed, 4);
        make_seed(out.path(), "cifar100", "paper", seed, 4);
    }
    Made::new("quick", "smoke", "kd", 1).write(out.path());
    let table = Table::build(out.path()).unwrap();
    insta::assert_snapshot!("published_term", table.render(Format::Term));
    insta::assert_snapshot!("published_csv", rounded(&table.render(Format::Csv)));
    insta::assert_snapshot!("published_md", table.render(Format::Md));
    insta::assert_snapshot!("published_latex", table.render(Format::Latex));
}

/// A file of one's own with the name of a published experiment, or one that `--set` has changed: neither table nor check
/// compares it with what was published for something else.
#[test]
fn published_numbers_stand_beside_their_own_protocol_alone() {
    let built = |preset, change: &str| {
        let out = tempfile::tempdir().unwrap();
        for n in 1..=3 {
            Made::new("cifar100", preset, &teacher(n), 1).write(out.path());
        }
        let mut last = Made::new("cifar100", preset, "be-kd", 1);
        for change in change.split_whitespace() {
            let (key, value) = change.split_once('=').unwrap();
            let (table, key) = key.rsplit_once('.').map_or((None, key), |(table, key)| (Some(table), key));
            let table = match table {
                Some(table) => last.config[table].as_table_mut().unwrap(),
                None => &mut last.config,
            };
            table.insert(key.to_owned(), format!("x={value}").parse::<toml::Table>().unwrap()["x"].clone());
        }
        last.write(out.path());
        Table::build(out.path()).unwrap()
    };
    let shows = |table: &Table| {
        let text = table.render(Format::Term);
        assert_eq!(text.contains("difference  "), text.contains("note: Published"), "{text}");
        text.contains("difference  ")
    };
    for (preset, change) in [("paper", ""), ("laptop", ""), ("laptop", "network=\"resnet-8\" data.image=16")]
    {
        let table = built(preset, change);
        assert!(shows(&table) && only(&table).withheld.is_none(), "{preset} {change}");
        assert!(!change.is_empty() || only(&table).doubts.is_empty(), "{preset}");
    }
    // Trained otherwise: beside ours, with a note.
    let table = built("paper", "student.lr=0.1");
    assert!(shows(&table));
    let note = "be-kd/seed-1 was trained otherwise than the published networks: student.lr = 0.1 where the published ones have 0.05.";
    assert!(table.render(Format::Term).contains(note), "{}", table.render(Format::Term));
    assert_eq!(only(&built("paper", "teacher.lr=0.2 student.batch=64")).doubts, [""; 0]);
    for (preset, change, wanted) in [
        (
            "paper",
            "data.dataset=\"synthetic\" network=\"resnet-8\"",
            "dataset = \"cifar100\", and a run of these has \"synthetic\"",
        ),
        (
            "laptop",
            "data.dataset=\"synthetic\"",
            "dataset = \"cifar100\", and a run of these has \"synthetic\"",
        ),
        ("paper", "network=\"wrn-28-4\"", "network = \"wrn-28-10\", and a run of these has \"wrn-28-4\""),
        ("paper", "teacher.epochs=6", "teacher.epochs = 300, and a run of these has 6"),
        ("paper", "student.epochs=6", "student.epochs = 300, and a run of these has 6"),
        ("paper", "data.test_rows=200", "data.test_rows = 10000, and a run of these has 200"),
    ] {
        let table = built(preset, change);
        assert!(!shows(&table), "{preset} {change}");
        let text = table.render(Format::Term);
        assert!(text.contains("note: The published numbers are of "), "{text}");
        assert!(text.contains(wanted), "{text}");
        let section = spread::against_published(only(&table)).unwrap();
        assert!(section.findings.is_empty() && section.title.contains(wanted), "{section:?}");
    }
}

/// The values of each seed, of which the table has the mean.
#[test]
fn each_seed_has_a_line_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for (seed, teachers) in [(3, 2), (8, 2)] {
        make_seed(folder.path(), "quick", "smoke", seed, teachers);
    }
    let table = Table::build(folder.path()).unwrap();
    let cells = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split(',').map(str::to_owned).collect()).collect()
    };
    let (each, means) = (cells(&table.each_seed()), cells(&table.render(Format::Csv)));
    assert_eq!(each[0][..3], ["experiment", "row", "seed"]);
    assert_eq!(each.len() - 1, 2 * (means.len() - 1));
    for (line, mean) in means.iter().enumerate().skip(1) {
        let of_row: Vec<&Vec<String>> = each.iter().filter(|cells| cells[1] == mean[1]).collect();
        assert_eq!([&of_row[0][2], &of_row[1][2]], ["3", "8"], "line {line}");
        for column in Column::ALL {
            let at = |header: &[String]| header.iter().position(|name| name == column.name()).unwrap();
            let (own, mean) = (at(&each[0]), &mean[at(&means[0])]);
            let values: Vec<f64> = of_row.iter().filter_map(|cells| cells[own].parse().ok()).collect();
            match mean.parse::<f64>() {
                Ok(mean) => assert!((values[0] + values[1] - 2.0 * mean).abs() < 1e-12, "line {line}"),
                Err(_) => assert!(values.is_empty(), "line {line}"),
            }
        }
    }
}
