//! The paper's figures as tables: snapshots of every format from small records, and numbers worked out here.

use std::fs;
use std::path::Path;

use results::Error;
use results::analysis::tables::{self, Source};
use results::analysis::{self, Analysis, Estimator, Matrix, Set};
use results::record::folders;
use results::sheet::{Sheet, render};
use results::table::{Experiment, Format, Table};

use crate::made::{self, Made};

/// Two seeds of two teachers and three students, with arrays.
fn make(out: &Path) -> Source {
    let folder = out.join("quick-smoke");
    for seed in [1, 2] {
        for row in ["teacher-1", "teacher-2", "kd"] {
            Made::new("quick", "smoke", row, seed).write(out);
        }
        for row in ["be-kd", "be-kd-ods"] {
            Made::new("quick", "smoke", row, seed).members(2).write(out);
        }
        let mut stored = vec![
            made::teachers_analysis(seed),
            made::student_analysis("be-kd", seed, Estimator::Exact),
            made::student_analysis("be-kd-ods", seed, Estimator::Exact),
        ];
        let mut kd = made::student_analysis("kd", seed, Estimator::Exact);
        kd.jacobian.as_mut().unwrap().against = analysis::Against::Ensemble;
        kd.diversity.clear();
        stored.push(kd);
        for one in stored {
            one.write(&analysis::path(&folder, &one.row, one.seed)).unwrap();
        }
    }
    Source::read(&folder).unwrap()
}

fn snapshots(name: &str, sheet: Sheet) {
    let sheets = [sheet];
    insta::assert_snapshot!(format!("{name}_term"), render(&sheets, Format::Term));
    insta::assert_snapshot!(format!("{name}_md"), render(&sheets, Format::Md));
    insta::assert_snapshot!(format!("{name}_latex"), render(&sheets, Format::Latex));
    insta::assert_snapshot!(format!("{name}_csv"), crate::table::rounded(&render(&sheets, Format::Csv)));
}

#[test]
fn every_table_in_every_format() {
    let out = tempfile::tempdir().unwrap();
    let source = make(out.path());
    assert_eq!(source.folder, "quick-smoke");
    snapshots("confidence", tables::confidence(&source));
    snapshots("diversity", tables::diversity(&source));
    snapshots("transfer", tables::transfer(&source));
    snapshots("jacobian", tables::jacobian(&source));
    snapshots("remainder", tables::remainder(&source));
}

fn csv(sheet: &Sheet) -> Vec<Vec<&str>> {
    sheet.csv.iter().map(|line| line.iter().map(String::as_str).collect()).collect()
}

fn number(cell: &str) -> f64 {
    cell.parse().unwrap()
}

/// The bins' shares and means of the CSV give the mean-KLD back, which is the stored arrays' plain mean.
#[test]
fn bins_add_up_to_the_mean() {
    let out = tempfile::tempdir().unwrap();
    let source = make(out.path());
    let sheet = tables::diversity(&source);
    let teachers = |images: &str| -> Vec<Vec<&str>> {
        csv(&sheet).into_iter().filter(|line| line[1] == "teachers" && line[2] == images).collect()
    };
    for set in Set::PAPER {
        let lines = teachers(set.name());
        assert_eq!(lines.len(), 11);
        let expected = source
            .analyses
            .iter()
            .filter(|one| one.row == "teachers")
            .map(|one| one.diversity[&set].mean_kl())
            .sum::<f64>()
            / 2.0;
        assert!((number(lines[0][8]) - expected).abs() < 1e-9, "{lines:?}");
        let shares: f64 = lines[1..].iter().map(|line| number(line[6])).sum();
        assert!((shares - 1.0).abs() < 1e-12);
    }
    // Test images come from the predictions: those of teachers 1 and 2, and of the students of two subnetworks.
    let test = teachers("test");
    let mean = |seed| {
        let of = |row: &str| Made::new("quick", "smoke", row, seed).predictions().test.logits;
        metrics::mean_pairwise_kl(&[of("teacher-1"), of("teacher-2")].concat(), 2, 60, made::CLASSES).unwrap()
    };
    assert!((number(test[0][8]) - (mean(1) + mean(2)) / 2.0).abs() < 1e-9, "{test:?}");
}

/// With more teachers than M and no student the test images are asked of the same M as the training images.
#[test]
fn more_teachers_than_members_leave_the_first() {
    let out = tempfile::tempdir().unwrap();
    for row in ["teacher-1", "teacher-2", "teacher-3", "teacher-4"] {
        Made::new("quick", "smoke", row, 1).write(out.path());
    }
    let folder = out.path().join("quick-smoke");
    made::teachers_analysis(1).write(&analysis::path(&folder, "teachers", 1)).unwrap();
    let source = Source::read(&folder).unwrap();
    let rows: Vec<&str> = source.tested.iter().map(|tested| tested.row.as_str()).collect();
    assert_eq!((source.members, rows), (2, vec!["teacher-1", "teacher-2", "de-2"]));
    fs::remove_dir_all(folder.join(analysis::FOLDER)).unwrap();
    assert_eq!(Source::read(&folder).unwrap().members, 4);
}

/// Arrays of a seed or a row that is gone, of other models, or seen through other settings than the records' are left out.
#[test]
fn arrays_of_other_records_are_left_out() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("quick-smoke");
    let whole = make(out.path());
    assert_eq!((whole.analyses.len(), &whole.left_out[..]), (8, &[][..]));
    let left_out = || {
        let Source { analyses, left_out, .. } = Source::read(&folder).unwrap();
        (analyses.len(), left_out.join("\n"))
    };
    for teacher in ["teacher-1", "teacher-2"] {
        fs::remove_dir_all(folder.join(teacher).join("seed-2")).unwrap();
    }
    let (count, why) = left_out();
    assert_eq!(count, 4, "{why}");
    assert!(
        why.contains("analysis of be-kd of seed 2 is left out: there is no record of teacher-1."),
        "{why}"
    );

    let remake = |row: &str, config: &str, model: &str| {
        fs::remove_dir_all(folder.join(row).join("seed-1")).unwrap();
        let mut made = Made::new("quick", "smoke", row, 1);
        made.config = toml::from_str(config).unwrap();
        made.models.insert(row.to_owned(), model.to_owned());
        made.members(if row.starts_with("be") { 2 } else { 1 }).write(out.path());
    };
    remake("kd", "", "ffff");
    let (count, why) = left_out();
    assert_eq!(count, 3);
    assert!(why.contains("analysis of kd of seed 1 is left out: it is of another kd."), "{why}");

    let mut seen = made::teachers_analysis(1);
    let settings = toml::from_str("eta = 50\ntau = 4.0").unwrap();
    seen.perturbations.insert("be-kd-ods".to_owned(), settings);
    seen.write(&analysis::path(&folder, "teachers", 1)).unwrap();
    assert_eq!(left_out().0, 3, "a record that says nothing is believed");
    remake("be-kd-ods", "[method.be-kd-ods]\nalpha = 0.9\neta = 1\ntau = 4.0", "00ff");
    let (count, why) = left_out();
    assert_eq!(count, 2);
    assert!(why.contains("it saw images through be-kd-ods with eta = 50, tau = 4.0."), "{why}");
    // What a loss weighs is nothing that an image depends on.
    seen.perturbations.insert("be-kd-ods".to_owned(), toml::from_str("eta = 1\ntau = 4.0").unwrap());
    seen.write(&analysis::path(&folder, "teachers", 1)).unwrap();
    assert_eq!(left_out().0, 3);
    // Nobody trained this one: the teachers and a student may still differ in it.
    let mut student = made::student_analysis("be-kd", 1, Estimator::Exact);
    for (analysis, eta) in [(&mut seen, 1), (&mut student, 2)] {
        let settings = toml::from_str(&format!("eta = {eta}")).unwrap();
        analysis.perturbations.insert("be-kd-gaussian".to_owned(), settings);
        analysis.write(&analysis::path(&folder, &analysis.row, 1)).unwrap();
    }
    let (count, why) = left_out();
    assert_eq!(count, 3);
    assert!(why.contains("through be-kd-gaussian with different settings: eta = 1, and eta = 2."), "{why}");
}

/// A folder of records that is a link, to one of another name, is called as the link.
#[cfg(unix)]
#[test]
fn a_linked_folder_has_the_links_name() {
    let out = tempfile::tempdir().unwrap();
    make(out.path());
    fs::rename(out.path().join("quick-smoke"), out.path().join("disk-7")).unwrap();
    fs::create_dir(out.path().join("runs")).unwrap();
    let link = out.path().join("runs/quick-smoke");
    std::os::unix::fs::symlink(out.path().join("disk-7"), &link).unwrap();
    assert_eq!(Experiment::read(&link).unwrap().folder, "quick-smoke");
    assert_eq!(Source::read(&link).unwrap().folder, "quick-smoke");
}

/// Records that somebody put aside in the folder are not of the experiment.
#[test]
fn records_deeper_down_are_others() {
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().join("quick-smoke");
    make(out.path());
    fs::create_dir(folder.join("old")).unwrap();
    fs::rename(folder.join("be-kd"), folder.join("old/be-kd")).unwrap();
    let rows: Vec<String> = Experiment::read(&folder).unwrap().rows.into_iter().map(|row| row.name).collect();
    assert_eq!(rows, ["de-1", "de-2", "kd", "be-kd-ods"]);
    assert_eq!(Table::build(&folder).unwrap().experiments, [Experiment::read(&folder).unwrap()]);
    assert_eq!(folders(&folder).unwrap(), [fs::canonicalize(&folder).unwrap()]);
    assert!(Source::read(&folder).unwrap().tested.iter().all(|tested| tested.row != "be-kd"));
    let compared = results::compare::compare(&folder, "kd", 20).unwrap();
    assert!(compared.iter().all(|one| one.row != "be-kd"));
}

/// Records without arrays still have their test images.
#[test]
fn records_without_arrays_give_what_predictions_give() {
    let out = tempfile::tempdir().unwrap();
    make(out.path());
    let folder = out.path().join("quick-smoke");
    fs::remove_dir_all(folder.join(analysis::FOLDER)).unwrap();
    let source = Source::read(&folder).unwrap();
    assert!(source.analyses.is_empty());
    let sheet = tables::diversity(&source);
    let lines = csv(&sheet);
    assert!(!lines.is_empty() && lines.iter().all(|line| line[2] == "test"), "{lines:?}");
    assert_eq!(tables::transfer(&source).lines, Vec::<Vec<String>>::new());
    assert_eq!(tables::jacobian(&source).lines, Vec::<Vec<String>>::new());
    assert!(tables::confidence(&source).lines.iter().all(|line| line[1].is_empty() && !line[2].is_empty()));
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(Source::read(empty.path()), Err(Error::NoRecords { .. })));
}

/// Estimates say so, with the error that they have.
#[test]
fn estimates_are_shown_with_their_errors() {
    let out = tempfile::tempdir().unwrap();
    make(out.path());
    let folder = out.path().join("quick-smoke");
    for seed in [1, 2] {
        let one: Analysis = made::student_analysis("be-kd", seed, Estimator::Projections(32));
        one.write(&analysis::path(&folder, "be-kd", seed)).unwrap();
    }
    let notes = tables::jacobian(&Source::read(&folder).unwrap()).notes.join("\n");
    assert!(notes.contains("Estimated from 32 random projections"), "{notes}");
}

/// A distance that falls is no closeness: with all distances above 1, where a Jacobian of zeros would be, it is called smaller,
/// and a note says why.
#[test]
fn distances_above_one_are_not_called_closer() {
    let out = tempfile::tempdir().unwrap();
    make(out.path());
    let folder = out.path().join("quick-smoke");
    for seed in [1, 2] {
        for (row, distance) in [("be-kd", 2.0), ("be-kd-ods", 1.5)] {
            let mut one = made::student_analysis(row, seed, Estimator::Exact);
            for found in one.jacobian.as_mut().unwrap().spaces.values_mut() {
                found.distance = Matrix::new(4, vec![distance; 8]);
                found.cosine = Matrix::new(4, vec![0.5; 8]);
            }
            one.write(&analysis::path(&folder, row, seed)).unwrap();
        }
    }
    let sheet = tables::jacobian(&Source::read(&folder).unwrap());
    let verdict = |measure: &str| {
        let mut lines = sheet.lines.iter().filter(|line| line[1] == measure && line[2] == "be-kd-ods");
        lines.next().unwrap().last().unwrap().clone()
    };
    assert_eq!((verdict("distance").as_str(), verdict("cosine").as_str()), ("smaller", "inconclusive"));
    let notes = sheet.notes.join("\n");
    assert!(notes.contains("of probs: be-kd 2.000, be-kd-ods 1.500; of logits: be-kd 2.000,"), "{notes}");
}
