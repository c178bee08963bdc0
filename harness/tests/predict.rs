//! `divkd predict`: models from files predict what the runs that made them recorded.

mod program;

use std::path::Path;

use results::record::{PREDICTIONS, Predictions, Split};

use program::{divkd, text};

fn done(folder: &Path, args: &[&str]) {
    let output = divkd(folder, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
}

fn refused(folder: &Path, args: &[&str], expected: &str) {
    let output = divkd(folder, args);
    let said = text(&output.stderr);
    assert!(!output.status.success() && said.contains(expected), "{args:?}: {said}");
}

/// A BatchEnsemble's model gives its record's predictions, bit by bit; two teachers are the members of an ensemble, in the order
/// in which they are named.
#[test]
fn models_predict_what_their_runs_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let smoke = ["quick", "--preset", "smoke", "--device", "cpu"];
    done(
        folder,
        &[&["reproduce"], &smoke[..], &["--members", "2", "--methods", "be-kd", "--set", "student.epochs=3"]]
            .concat(),
    );
    let runs = ["teacher-1", "teacher-2", "be-kd"].map(|row| format!("runs/quick-smoke/{row}/seed-1"));
    let recorded = |run: &str| Predictions::read(&folder.join(run).join(PREDICTIONS)).unwrap();
    let predict = |models: &[&str], out: &str| {
        done(folder, &[&["predict"], &smoke[..1], models, &smoke[1..], &["--out", out]].concat());
        Predictions::read(&folder.join(out)).unwrap()
    };
    assert_eq!(predict(&[&runs[2]], "student"), recorded(&runs[2]));
    let model = format!("{}/model.safetensors", runs[0]);
    let ensemble = predict(&[&runs[1], &model], "ensemble");
    let joined =
        |one: Split, other: Split| Split { logits: [one.logits, other.logits].concat(), m: 2, ..one };
    let (second, first) = (recorded(&runs[1]), recorded(&runs[0]));
    let expected = Predictions { val: joined(second.val, first.val), test: joined(second.test, first.test) };
    assert_eq!(ensemble, expected);
    done(folder, &["eval", "ensemble"]);

    let with = |more: &[&str]| {
        [&["predict", "quick", runs[0].as_str(), "--device", "cpu"][..], more]
            .concat()
            .into_iter()
            .map(str::to_owned)
            .collect()
    };
    let cases: [(Vec<String>, &str); 4] = [
        (with(&["--preset", "smoke", "--out", "ensemble"]), "ensemble exists already"),
        (
            with(&["--preset", "smoke", "--out", "new", "--set", "network=wrn-10-1"]),
            "is not of the experiment's network, wrn-10-1",
        ),
        (with(&["--preset", "smok", "--out", "new"]), "did you mean `smoke`?"),
        (with(&["--preset", "smoke", "--out", "ensemble/new"]), "cannot write ensemble/new"),
    ];
    for (args, expected) in &cases {
        refused(folder, &args.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    }
    assert!(!folder.join("new").exists());
}
