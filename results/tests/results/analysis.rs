//! Stored arrays: read back to the same, and every kind of damage answered by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use random::Stream;
use results::analysis::{
    self, Against, Analysis, Cost, Curve, Direction, Diversity, Estimator, FOLDER, JacobianMatch, Match,
    MatchError, Matrix, Remainder, Set, Space, TEACHERS, Transfer,
};
use results::record;

use crate::made::Made;

fn uniforms(name: &str, len: usize) -> Vec<f32> {
    let mut draws = Stream::new(5, name).draws(0, 0);
    (0..len).map(|_| draws.uniform()).collect()
}

fn matrix(name: &str, rows: usize, columns: usize) -> Matrix {
    Matrix::new(columns, uniforms(name, rows * columns))
}

fn empty(row: &str, seed: u64) -> Analysis {
    let diversity = |set: Set| Diversity {
        confidence: uniforms(&format!("{row} {} confidence", set.name()), 20),
        kl: uniforms(&format!("{row} {} kl", set.name()), 20),
    };
    Analysis {
        row: row.to_owned(),
        seed,
        cost: Cost { forward_flops: 123_456_789_012, parameters: 1_000 },
        models: BTreeMap::from([(row.to_owned(), "00ff".to_owned())]),
        diversity: Set::ALL.map(|set| (set, diversity(set))).into(),
        confidence: None,
        transfer: None,
        remainder: None,
        jacobian: None,
    }
}

fn teachers(seed: u64) -> Analysis {
    let mut curves = BTreeMap::new();
    for direction in Direction::ALL {
        for space in Space::ALL {
            let name = format!("{} {}", direction.name(), space.name());
            let curve = Curve { change: matrix(&name, 3, 8), rest: matrix(&(name.clone() + " rest"), 3, 8) };
            curves.insert((direction, space), curve);
        }
    }
    Analysis {
        confidence: Some(matrix("confidence", 2, 20)),
        transfer: Some(Transfer { values: matrix("transfer", 2, 2), clean: uniforms("clean", 2) }),
        remainder: Some(Remainder { norm: vec![0.01, 0.02, 0.04], training_norm: 0.062_745_098, curves }),
        ..empty(TEACHERS, seed)
    }
}

fn student(row: &str, seed: u64, estimator: Estimator) -> Analysis {
    let matches = |space: Space| {
        let of = |what: &str| matrix(&format!("{row} {} {what}", space.name()), 2, 4);
        let error = match estimator {
            Estimator::Exact => None,
            Estimator::Projections(_) => {
                Some(MatchError { distance: of("distance error"), cosine: of("cosine error") })
            }
        };
        Match { distance: of("distance"), cosine: of("cosine"), error }
    };
    let spaces = Space::ALL.map(|space| (space, matches(space))).into();
    Analysis {
        jacobian: Some(JacobianMatch {
            against: Against::OneToOne,
            estimator,
            examples: vec![0, 3, 5, 9],
            spaces,
        }),
        ..empty(row, seed)
    }
}

fn write(folder: &Path, analysis: &Analysis) {
    analysis.write(&analysis::path(folder, &analysis.row, analysis.seed)).unwrap();
}

#[test]
fn arrays_are_read_back_and_equal_ones_are_equal_bytes() {
    let out = tempfile::tempdir().unwrap();
    let all = [
        teachers(1),
        teachers(2),
        student("kd", 1, Estimator::Exact),
        student("be-kd", 2, Estimator::Projections(32)),
        Analysis { diversity: BTreeMap::new(), ..empty("be-kd-ods", 10) },
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
    assert_eq!(names.len(), 5, "{names:?}");
}

#[test]
fn a_vanishing_teacher_is_not_a_number_and_comes_back_as_such() {
    let out = tempfile::tempdir().unwrap();
    let mut stored = student("be", 1, Estimator::Exact);
    let found = stored.jacobian.as_mut().unwrap().spaces.get_mut(&Space::Probs).unwrap();
    found.cosine = Matrix::new(4, [&[f32::NAN], &uniforms("rest", 7)[..]].concat());
    write(out.path(), &stored);
    let read = Analysis::read(&analysis::path(out.path(), "be", 1)).unwrap();
    let cosine = &read.jacobian.unwrap().spaces[&Space::Probs].cosine;
    assert!(cosine.values()[0].is_nan() && cosine.values()[1..].iter().all(|value| value.is_finite()));
}

#[test]
fn other_files_and_missing_folders_are_no_analyses() {
    let out = tempfile::tempdir().unwrap();
    assert_eq!(analysis::scan(out.path()).unwrap(), []);
    write(out.path(), &teachers(1));
    fs::write(out.path().join(FOLDER).join(".tmp-be.seed-1.safetensors"), "half").unwrap();
    fs::write(out.path().join(FOLDER).join("notes.txt"), "mine").unwrap();
    assert_eq!(analysis::scan(out.path()).unwrap().len(), 1);
}

/// The folder lies among the rows of an experiment and is none of them.
#[test]
fn a_scan_of_records_passes_it_over() {
    let out = tempfile::tempdir().unwrap();
    let record = Made::new("quick", "smoke", "be", 1).write(out.path());
    write(&out.path().join("quick-smoke"), &teachers(1));
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
    let mut short = teachers(1);
    short.diversity.get_mut(&Set::Ods).unwrap().kl.pop();
    refused(&short, "diversity.ods.kl: expected 20 values, found 19");

    let mut odd = teachers(1);
    odd.transfer.as_mut().unwrap().clean.push(0.5);
    refused(&odd, "transfer: expected shape (3, 3), found [2, 2]");

    let mut infinite = teachers(1);
    infinite.confidence = Some(Matrix::new(2, vec![0.5, f32::INFINITY]));
    refused(&infinite, "confidence: expected finite numbers, found inf");

    let mut radii = teachers(1);
    radii.remainder.as_mut().unwrap().norm.pop();
    refused(&radii, "remainder.gaussian.logits.change: expected 2 rows");

    let mut missing = teachers(1);
    missing.remainder.as_mut().unwrap().curves.remove(&(Direction::Ods, Space::Probs));
    refused(&missing, "is not the safetensors file that it should be");

    let mut examples = student("be-kd", 1, Estimator::Exact);
    examples.jacobian.as_mut().unwrap().examples.pop();
    refused(&examples, "jacobian.logits.distance: expected 3 columns");

    let mut errors = student("be-kd", 1, Estimator::Exact);
    errors.jacobian.as_mut().unwrap().estimator = Estimator::Projections(8);
    refused(&errors, "is not the safetensors file that it should be");
}

#[test]
fn damaged_and_renamed_files_are_named() {
    let out = tempfile::tempdir().unwrap();
    write(out.path(), &teachers(1));
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
