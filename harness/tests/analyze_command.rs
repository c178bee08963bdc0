//! `divkd analyze` on records of its own: from stored arrays, from weights where arrays are missing, and what it says where
//! neither is there.

mod program;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use results::record;

use program::{divkd, text};

const KINDS: [&str; 5] = ["confidence", "diversity", "transfer", "jacobian", "remainder"];

/// What `divkd analyze` prints.
fn analyze(folder: &Path, args: &[&str]) -> String {
    let output = divkd(folder, &[&["analyze"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// What it complains about.
fn refused(folder: &Path, args: &[&str]) -> String {
    let output = divkd(folder, &[&["analyze"], args].concat());
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

fn stored(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = folder.join("runs/quick-smoke/analysis");
    let mut files: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Two seeds of two teachers, `kd`, `be-kd` and `be-kd-ods`.
fn reproduce(folder: &Path) {
    let args = ["reproduce", "quick", "--preset", "smoke", "--members", "2", "--seeds", "2"];
    let output = divkd(folder, &[&args[..], &["--methods", "teacher,kd,be-kd,be-kd-ods"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

fn records(folder: &Path) -> Vec<PathBuf> {
    record::scan(&folder.join("runs")).unwrap().into_iter().map(|path| path.dir).collect()
}

#[test]
fn tables_from_arrays_from_weights_and_from_neither() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    reproduce(folder);
    let before = stored(folder);
    assert_eq!(before.len(), 8);

    // Every kind, as lines and as CSV whose lines have as many cells as the header.
    let tables: Vec<String> = KINDS.iter().map(|kind| analyze(folder, &[kind])).collect();
    for (kind, table) in KINDS.iter().zip(&tables) {
        assert!(table.starts_with("quick-smoke: "), "{table}");
        let csv = analyze(folder, &[kind, "runs/quick-smoke", "--format", "csv"]);
        let cells: Vec<usize> = csv.lines().map(|line| line.split(',').count()).collect();
        assert!(cells.len() > 4 && cells.iter().all(|count| *count == cells[0]), "{kind}: {csv}");
    }
    assert!(tables[3].contains("first-order remainder"), "{}", tables[3]);
    assert!(analyze(folder, &["compare"]).contains("quick-smoke: against be-kd\n"));
    let turned = analyze(folder, &["compare", "--baseline", "be-kd-ods"]);
    assert!(turned.contains("quick-smoke: against be-kd-ods\n"), "{turned}");
    assert!(turned.lines().any(|line| line.starts_with("be-kd ") && line.contains("DIS %")), "{turned}");
    // Both kinds of diversity of a student, and none of one network.
    let evaluated =
        |run: &str| text(&divkd(folder, &["eval", &format!("runs/quick-smoke/{run}/seed-1")]).stdout);
    let student = evaluated("be-kd");
    assert!(student.contains("\nkld ") && student.contains("\ndis "), "{student}");
    assert!(!evaluated("kd").contains("\ndis "));
    let unknown = divkd(folder, &["analyze", "compare", "--baseline", "be-ods"]);
    assert_eq!(unknown.status.code(), Some(64));
    let message = text(&unknown.stderr);
    assert!(message.contains("unknown row `be-ods`; did you mean `be-kd-ods`?"), "{message}");
    assert!(message.contains("(known: de-1, de-2, kd, be-kd, be-kd-ods)"), "{message}");
    assert!(analyze(folder, &["transfer", "--format", "latex"]).contains("\\toprule"));
    assert!(analyze(folder, &["transfer", "--format", "md"]).contains("| teacher-1 |"));
    let unknown = divkd(folder, &["analyze", "transfer", "--format", "html"]);
    assert_eq!(unknown.status.code(), Some(64));

    // Without arrays they are computed from the weights, to the same bytes: the teachers' alone, then the rest.
    fs::remove_dir_all(folder.join("runs/quick-smoke/analysis")).unwrap();
    assert_eq!(analyze(folder, &["confidence"]), tables[0]);
    assert_eq!(stored(folder).len(), 2);
    assert_eq!(analyze(folder, &["diversity"]), tables[1]);
    assert!(stored(folder) == before, "other bytes from records than at the end of a run");

    // Without one model its seed's students cannot be computed: what is stored is shown, what is not is named.
    let model = folder.join("runs/quick-smoke/be-kd/seed-2").join(record::MODEL);
    fs::remove_file(&model).unwrap();
    fs::remove_file(folder.join("runs/quick-smoke/analysis/be-kd.seed-2.safetensors")).unwrap();
    let partial = divkd(folder, &["analyze", "jacobian"]);
    assert_eq!(partial.status.code(), Some(0));
    let warning = text(&partial.stderr);
    assert!(warning.contains("no stored analysis of be-kd/seed-2"), "{warning}");
    assert!(warning.contains("be-kd/seed-2/model.safetensors is missing"), "{warning}");
    assert!(warning.contains("`divkd reproduce quick --preset smoke`"), "{warning}");

    // Other data, then data that came from a folder, then no weights at all: nothing is left to show.
    fs::remove_dir_all(folder.join("runs/quick-smoke/analysis")).unwrap();
    let run =
        records(folder).into_iter().find(|dir| dir.ends_with("teacher-1/seed-1")).unwrap().join(record::RUN);
    let whole = fs::read_to_string(&run).unwrap();
    fs::write(&run, whole.replacen("train = 96", "train = 97", 1)).unwrap();
    let message = refused(folder, &["transfer"]);
    assert!(message.contains("these are not the data that its records were made from"), "{message}");
    let source = whole.lines().find(|line| line.starts_with("source = ")).unwrap();
    fs::write(&run, whole.replacen(source, "source = \"folder cifar10\"", 1)).unwrap();
    let message = refused(folder, &["transfer"]);
    assert!(message.contains("the data came from a folder: name it with --data-dir"), "{message}");
    // Data that cannot be had: a hub that is not asked, with nothing cached.
    fs::write(&run, whole.replacen("dataset = \"synthetic\"", "dataset = \"cifar10\"", 1)).unwrap();
    let offline = Command::new(env!("CARGO_BIN_EXE_divkd"))
        .args(["analyze", "transfer"])
        .current_dir(folder)
        .envs([("HF_HUB_OFFLINE", "1"), ("HF_HOME", "empty")])
        .output()
        .unwrap();
    let message = text(&offline.stderr);
    assert_eq!(offline.status.code(), Some(1), "{message}");
    assert!(message.contains("the data cannot be read: "), "{message}");
    fs::write(&run, whole).unwrap();
    for dir in records(folder) {
        let _ = fs::remove_file(dir.join(record::MODEL));
    }
    let message = refused(folder, &["diversity"]);
    assert!(
        message.contains("no stored analysis of teachers/seed-1, ") && message.contains("and 4 more"),
        "{message}"
    );
    // Comparisons need predictions alone.
    assert!(analyze(folder, &["compare", "--format", "csv"]).starts_with("experiment,row,score,"));
    let nothing = refused(folder, &["compare", "runs/quick-smoke/analysis"]);
    assert!(nothing.contains("cannot open") || nothing.contains("no records under"), "{nothing}");
}

/// `train-kld` is of the settings that were asked for, also where no method that is trained has them, and of the teachers.
#[test]
fn other_perturbations_and_teachers_are_analysed_again() {
    let folder = tempfile::tempdir().unwrap();
    let line = |settings: &[&str]| {
        let args = ["reproduce", "quick", "--preset", "smoke", "--methods", "teacher"];
        let output = divkd(folder.path(), &[&args[..], settings].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let line =
            text(&output.stdout).lines().find(|line| line.starts_with("train-kld ")).map(str::to_owned);
        (line.unwrap(), text(&output.stderr).contains("teachers/seed-1  analysed"))
    };
    let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<String>>();
    let (first, _) = line(&[]);
    assert_eq!(line(&[]), (first.clone(), false));
    let (larger, is_new) = line(&["--set", "method.be-kd-ods.eta=8"]);
    assert!(is_new);
    let changed: Vec<bool> = words(&first).iter().zip(words(&larger)).map(|(a, b)| *a != b).collect();
    assert_eq!(changed, [false, false, false, true, false], "{first} {larger}");
    assert_eq!(line(&[]), (first.clone(), true));
    let (of_two, is_new) = line(&["--members", "2"]);
    assert!(is_new && words(&of_two)[1] != words(&first)[1], "{first} {of_two}");
}

/// What is printed is what the folder holds, the line `train-kld` like the table.
#[test]
fn fewer_seeds_and_rows_than_are_stored_print_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let printed = |more: &[&str]| {
        let output = divkd(folder.path(), &[&["reproduce", "quick", "--preset", "smoke"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).to_owned()
    };
    let two = printed(&["--methods", "teacher,be", "--seeds", "2"]);
    assert!(two.starts_with("train-kld "), "{two}");
    assert_eq!(printed(&["--methods", "teacher"]), two);
    assert_eq!(printed(&["--methods", "be"]), two);
}

/// Each student's arrays are against the teachers that it learned from, whatever M the folder's first record has, and none is
/// made anew.
#[test]
fn every_student_has_its_own_number_of_teachers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let reproduce = |more: &[&str]| {
        let output = divkd(folder, &[&["reproduce", "quick", "--preset", "smoke"], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    };
    // The teachers' records say 2, the student 4.
    reproduce(&["--methods", "teacher", "--members", "2"]);
    reproduce(&["--methods", "kd,be-kd"]);
    let before = stored(folder);
    for kind in KINDS {
        let output = divkd(folder, &["analyze", kind]);
        assert_eq!(text(&output.stderr), "", "{kind}");
    }
    assert!(stored(folder) == before);
    for (path, _) in &before {
        fs::remove_file(path).unwrap();
    }
    analyze(folder, &["diversity"]);
    assert!(stored(folder) == before);
}

/// One experiment that has nothing to show does not hide the others.
#[test]
fn experiments_that_can_be_analysed_are() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    reproduce(folder);
    let alone = analyze(folder, &["diversity", "runs/quick-smoke"]);
    let poor = folder.join("runs/another-smoke");
    let place = record::Place::new("another", "smoke", "be", 1).unwrap();
    let kept = folder.join("runs/quick-smoke/kd/seed-1");
    let draft = place.begin(&folder.join("runs")).unwrap();
    for name in [record::PREDICTIONS, record::METRICS] {
        fs::copy(kept.join(name), draft.join(name)).unwrap();
    }
    let text_of = fs::read_to_string(kept.join(record::RUN)).unwrap();
    let renamed = text_of.replace("\"quick\"", "\"another\"").replace("row = \"kd\"", "row = \"be\"");
    fs::write(draft.join(record::RUN), renamed).unwrap();
    place.finish(&folder.join("runs")).unwrap();
    assert!(poor.is_dir());
    let output = divkd(folder, &["analyze", "diversity"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("another-smoke"), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout), alone);
}

/// Where the weights are, at once; where they are not, it is said what to remove.
#[test]
fn a_damaged_analysis_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    reproduce(folder);
    let before = stored(folder);
    let (damaged, bytes) = &before[0];
    fs::write(damaged, &bytes[..bytes.len() / 2]).unwrap();
    let args = ["reproduce", "quick", "--preset", "smoke", "--members", "2", "--seeds", "2"];
    let reproduce = || divkd(folder, &[&args[..], &["--methods", "teacher,kd,be-kd,be-kd-ods"]].concat());
    assert_eq!(reproduce().status.code(), Some(0));
    assert!(stored(folder) == before);

    fs::write(damaged, &bytes[..bytes.len() / 2]).unwrap();
    for dir in records(folder) {
        fs::remove_file(dir.join(record::MODEL)).unwrap();
    }
    for output in [reproduce(), divkd(folder, &["analyze", "diversity"])] {
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let name = damaged.file_name().unwrap().to_str().unwrap();
        assert!(
            stderr.contains(&format!("{name} is not the safetensors file that it should be (remove it: ")),
            "{stderr}"
        );
    }
}

/// Other teachers under the same names: no array of the earlier ones is shown or kept, however old the files are.
#[test]
fn arrays_of_other_teachers_are_made_again_or_left_out() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let train = |folder: &Path, more: &[&str]| {
        let args = ["reproduce", "quick", "--preset", "smoke", "--methods", "teacher", "--members", "2"];
        let output = divkd(folder, &[&args[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).lines().find(|line| line.starts_with("train-kld ")).map(str::to_owned)
    };
    const FAST: [&str; 2] = ["--set", "teacher.lr=0.1"];
    // Made before the analysis that is to be replaced.
    let expected = train(other.path(), &FAST);
    let slow = train(folder.path(), &[]);
    assert!(slow.is_some() && slow != expected);
    for teacher in ["teacher-1", "teacher-2"] {
        let place = |folder: &Path| folder.join("runs/quick-smoke").join(teacher);
        fs::remove_dir_all(place(folder.path())).unwrap();
        fs::rename(place(other.path()), place(folder.path())).unwrap();
    }
    let check = divkd(folder.path(), &["check", "runs"]);
    assert!(
        text(&check.stderr)
            .contains("analysis of teachers of seed 1 is left out: it is of another teacher-1")
    );
    assert!(text(&check.stdout).contains("no seed has both sides"), "{}", text(&check.stdout));

    // Without weights nothing can be made again, and nothing else is printed.
    for dir in records(folder.path()) {
        fs::rename(dir.join(record::MODEL), dir.join("aside")).unwrap();
    }
    let args = [&["--executor", "none"], &FAST[..]].concat();
    assert_eq!(train(folder.path(), &args), None);
    for dir in records(folder.path()) {
        fs::rename(dir.join("aside"), dir.join(record::MODEL)).unwrap();
    }
    assert_eq!(train(folder.path(), &args), expected);

    // A model that no run kept is not analysed.
    fs::remove_dir_all(folder.path().join("runs/quick-smoke/analysis")).unwrap();
    let model =
        |row: &str| folder.path().join("runs/quick-smoke").join(row).join("seed-1").join(record::MODEL);
    fs::copy(model("teacher-1"), model("teacher-2")).unwrap();
    let message = refused(folder.path(), &["confidence"]);
    assert!(
        message.contains("teacher-2/seed-1/model.safetensors is not the model that its run kept"),
        "{message}"
    );
}

/// Arrays are kept with the records, and the kept ones give the same tables.
#[test]
fn kept_records_give_the_same_tables() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    reproduce(folder);
    let keep = divkd(folder, &["keep", "runs", "--out", "kept"]);
    assert_eq!(keep.status.code(), Some(0), "{}", text(&keep.stderr));
    for kind in ["transfer", "jacobian"] {
        assert_eq!(analyze(folder, &[kind, "kept"]), analyze(folder, &[kind, "runs"]));
    }
    let csv = analyze(folder, &["confidence", "kept", "--format", "csv"]);
    assert!(csv.lines().skip(1).all(|line| !line.split(',').nth(3).unwrap().is_empty()), "{csv}");
    // The same through a link to the records.
    #[cfg(unix)]
    {
        fs::create_dir(folder.join("links")).unwrap();
        std::os::unix::fs::symlink(folder.join("runs/quick-smoke"), folder.join("links/quick-smoke"))
            .unwrap();
        let keep = divkd(folder, &["keep", "links", "--out", "kept-2"]);
        assert_eq!(keep.status.code(), Some(0), "{}", text(&keep.stderr));
        let count = |kept: &str| record::scan(&folder.join(kept)).unwrap().len();
        assert_eq!(count("kept-2"), count("kept"));
    }
    // Again: nothing is written over.
    let keep = || divkd(folder, &["keep", "runs", "--out", "kept"]);
    assert_eq!(keep().status.code(), Some(0), "{}", text(&keep().stderr));

    // What is kept of other runs is not taken for what these are.
    let kept = folder.join("kept/quick-smoke");
    let before = fs::read(kept.join("table.csv")).unwrap();
    fs::write(kept.join("table.csv"), "older").unwrap();
    let others = [
        ("kd/seed-1/metrics.csv", "kd/seed-2/metrics.csv"),
        ("kd/seed-2/predictions.safetensors", "kd/seed-1/predictions.safetensors"),
        ("analysis/kd.seed-1.safetensors", "analysis/kd.seed-2.safetensors"),
    ];
    let whole = others.map(|(name, _)| fs::read(kept.join(name)).unwrap());
    for (name, other) in others {
        fs::copy(kept.join(other), kept.join(name)).unwrap();
    }
    let refused = keep();
    assert_eq!(refused.status.code(), Some(1));
    let expected = format!(
        "error: what is kept already differs from runs; nothing was written: remove it, or name another --out:\n  {}\n",
        others.map(|(name, _)| format!("kept/quick-smoke/{name}")).join("\n  ")
    );
    assert_eq!(text(&refused.stderr), expected);
    assert_eq!(fs::read(kept.join("table.csv")).unwrap(), b"older");
    for ((name, _), bytes) in others.iter().zip(whole) {
        fs::write(kept.join(name), bytes).unwrap();
    }
    assert_eq!(keep().status.code(), Some(0));
    assert!(fs::read(kept.join("table.csv")).unwrap() == before);
}
