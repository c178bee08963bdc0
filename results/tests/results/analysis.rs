//! Stored arrays: read back to the same, and every kind of damage answered by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use results::analysis::{self, Analysis, Direction, Estimator, FOLDER, Matrix, Set, Space, TEACHERS};
use results::record;

use crate::made::{self, Made};

fn write(folder: &Path, analysis: &Analysis) {
    analysis.write(&analysis::path(folder, &analysis.row, analysis.seed)).unwrap();
}

#[test]
fn arrays_are_read_back_and_equal_ones_are_equal_bytes() {
    let out = tempfile::tempdir().unwrap();
    let all = [
        made::teachers_analysis(1),
        made::teachers_analysis(2),
        made::student_analysis("kd", 1, Estimator::Exact),
        made::student_analysis("be-kd", 2, Estimator::Projections(32)),
        Analysis { diversity: BTreeMap::new(), ..made::analysis("be-kd-ods", 10) },
        with_own_perturbation(),
    ];
    for analysis in all.iter().rev() {
        write(out.path(), analysis);
    }
    assert_eq!(analysis::scan(out.path()).unwrap(), all);
    let path = analysis::path(out.path(), TEACHERS, 1);
    let before = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    write(out.path(), &all[0]);
    assert_eq!(fs::read(&path).unwrap(), before);
    let names: Vec<_> =
        fs::read_dir(out.path().join(FOLDER)).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
}

/// Seen through a method that is not of the paper, whose settings are kept.
fn with_own_perturbation() -> Analysis {
    let mut analysis = made::analysis("be-kd-probe", 1);
    let seen = analysis.diversity[&Set::Clean].clone();
    analysis.diversity.insert(Set::Method("be-kd-probe".to_owned()), seen);
    let settings = [("eta".to_owned(), 4.0.into()), ("steps".to_owned(), 2.into())].into_iter().collect();
    analysis.perturbations.insert("be-kd-probe".to_owned(), settings);
    analysis
}

#[test]
fn a_vanishing_teacher_is_not_a_number_and_comes_back_as_such() {
    let out = tempfile::tempdir().unwrap();
    let mut stored = made::student_analysis("be", 1, Estimator::Exact);
    let found = stored.jacobian.as_mut().unwrap().spaces.get_mut(&Space::Probs).unwrap();
    found.cosine = Matrix::new(4, [&[f32::NAN], &made::uniforms("rest", 7)[..]].concat());
    write(out.path(), &stored);
    let read = Analysis::read(&analysis::path(out.path(), "be", 1)).unwrap();
    let cosine = &read.jacobian.unwrap().spaces[&Space::Probs].cosine;
    assert!(cosine.values()[0].is_nan() && cosine.values()[1..].iter().all(|value| value.is_finite()));
}

#[test]
fn other_files_and_missing_folders_are_no_analyses() {
    let out = tempfile::tempdir().unwrap();
    assert_eq!(analysis::scan(out.path()).unwrap(), []);
    write(out.path(), &made::teachers_analysis(1));
    fs::write(out.path().join(FOLDER).join(".tmp-be.seed-1.safetensors"), "half").unwrap();
    fs::write(out.path().join(FOLDER).join("notes.txt"), "mine").unwrap();
    assert_eq!(analysis::scan(out.path()).unwrap().len(), 1);
}

/// The folder lies among the rows of an experiment and is none of them.
#[test]
fn what_cannot_be_written_leaves_no_draft() {
    let out = tempfile::tempdir().unwrap();
    let analysis = made::teachers_analysis(1);
    let path = analysis::path(out.path(), TEACHERS, 1);
    // No file takes the place of a folder.
    fs::create_dir_all(&path).unwrap();
    assert!(analysis.write(&path).unwrap_err().to_string().contains("rename"));
    let names: Vec<_> =
        fs::read_dir(out.path().join(FOLDER)).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, [path.file_name().unwrap()]);
}

#[test]
fn a_scan_of_records_passes_it_over() {
    let out = tempfile::tempdir().unwrap();
    let record = Made::new("quick", "smoke", "be", 1).write(out.path());
    write(&out.path().join("quick-smoke"), &made::teachers_analysis(1));
    let found = record::scan(out.path()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(fs::canonicalize(record.dir()).unwrap(), found[0].dir);
}

#[test]
fn arrays_that_do_not_fit_are_not_written() {
    let out = tempfile::tempdir().unwrap();
    let refused = |analysis: &Analysis, wanted: &str| {
        let path = analysis::path(out.path(), &analysis.row, analysis.seed);
        let error = analysis.write(&path).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.contains(&analysis.row), "{error}");
        assert!(!path.exists());
    };
    let mut short = made::teachers_analysis(1);
    short.diversity.get_mut(&Set::Ods).unwrap().kl.pop();
    refused(&short, "diversity.ods.kl: expected 20 values, found 19");

    let mut odd = made::teachers_analysis(1);
    odd.transfer.as_mut().unwrap().clean.push(0.5);
    refused(&odd, "transfer: expected shape (3, 3), found [2, 2]");

    let mut infinite = made::teachers_analysis(1);
    infinite.confidence = Some(Matrix::new(2, vec![0.5, f32::INFINITY]));
    refused(&infinite, "confidence: expected finite numbers, found inf");

    let mut radii = made::teachers_analysis(1);
    radii.remainder.as_mut().unwrap().norm.pop();
    refused(&radii, "remainder.gaussian.logits.change: expected 2 rows");

    let mut missing = made::teachers_analysis(1);
    missing.remainder.as_mut().unwrap().curves.remove(&(Direction::Ods, Space::Probs));
    refused(&missing, "is not the safetensors file that it should be");

    let mut examples = made::student_analysis("be-kd", 1, Estimator::Exact);
    examples.jacobian.as_mut().unwrap().examples.pop();
    refused(&examples, "jacobian.logits.distance: expected 3 columns");

    let mut errors = made::student_analysis("be-kd", 1, Estimator::Exact);
    errors.jacobian.as_mut().unwrap().estimator = Estimator::Projections(8);
    refused(&errors, "is not the safetensors file that it should be");
}

#[test]
fn damaged_and_renamed_files_are_named() {
    let out = tempfile::tempdir().unwrap();
    write(out.path(), &made::teachers_analysis(1));
    let path = analysis::path(out.path(), TEACHERS, 1);
    let error = |path: &Path| Analysis::read(path).unwrap_err().to_string();

    let other = analysis::path(out.path(), TEACHERS, 2);
    fs::copy(&path, &other).unwrap();
    assert!(error(&other).contains("name: expected teachers.seed-1.safetensors"), "{}", error(&other));

    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert!(
        error(&path).contains("teachers.seed-1.safetensors is not the safetensors file"),
        "{}",
        error(&path)
    );

    let version = b"version = 1";
    let at = bytes.windows(version.len()).position(|window| window == version).unwrap();
    let mut newer = bytes.clone();
    newer[at + version.len() - 1] = b'2';
    fs::write(&path, &newer).unwrap();
    assert!(error(&path).contains("version of the layout: expected 1, found 2"), "{}", error(&path));
    assert!(error(&path).contains("remove the file"));

    let plain = Made::new("quick", "smoke", "be", 1).write(out.path());
    fs::copy(plain.dir().join(record::PREDICTIONS), &path).unwrap();
    assert!(error(&path).contains("metadata: expected divkd.analysis"), "{}", error(&path));
    fs::remove_file(&path).unwrap();
    assert!(error(&path).contains("cannot read"), "{}", error(&path));
}
