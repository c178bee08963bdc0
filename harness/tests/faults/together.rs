//! Several runs at a time in one process: the bytes of one after the other, whatever ends them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use results::record;

use crate::support::{Files, command, ended, leftovers, results, run, signal, start, until};

/// Three teachers, for long enough to be caught in their middle.
const TEACHERS: [&str; 10] = [
    "--methods",
    "teacher",
    "--members",
    "3",
    "--set",
    "teacher.epochs=12",
    "--set",
    "teacher.batch=4",
    "--concurrent-teachers",
    "3",
];

/// The results of [`TEACHERS`] one after the other, made once.
fn undisturbed() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &TEACHERS[..8], 0);
        results(folder.path())
    })
}

/// The seeds' folders of the three teachers, with the given beginning of their names.
fn folders(folder: &Path, kind: &str) -> [PathBuf; 3] {
    [1, 2, 3].map(|j| folder.join(format!("runs/quick-smoke/teacher-{j}/{kind}seed-1")))
}

fn has_checkpoint(dir: &Path) -> bool {
    fs::read_dir(dir).is_ok_and(|mut entries| {
        entries.any(|entry| entry.unwrap().path().extension().is_some_and(|end| end == "safetensors"))
    })
}

fn err(folder: &Path) -> String {
    fs::read_to_string(folder.join("err")).unwrap()
}

/// Starts [`TEACHERS`] and waits until each of them has a checkpoint: all are in training.
fn all_in_training(folder: &Path) -> Child {
    let mut child = start(folder, &TEACHERS, "err");
    until("three checkpoints", || {
        assert_eq!(child.try_wait().unwrap(), None, "{}", err(folder));
        folders(folder, ".tmp-checkpoints-").iter().all(|dir| has_checkpoint(dir))
    });
    child
}

/// Teachers and students: by runs of any row, and by teachers alone.
#[test]
fn several_at_a_time_make_the_bytes_of_one_after_the_other() {
    let whole = tempfile::tempdir().unwrap();
    let alone = command(whole.path(), &["--seeds", "2"]).output().unwrap();
    let table = alone.stdout.clone();
    ended(alone, 0);
    let expected = results(whole.path());
    let runs = expected.keys().filter(|path| path.ends_with("metrics.csv")).count();
    assert!(runs > 20);
    for options in [
        &["--concurrent-runs", "3"][..],
        &["--devices", "cpu", "--concurrent-teachers", "4", "--concurrent-runs", "2"],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let mut together = command(folder.path(), &["--seeds", "2"]);
        if options[0] == "--devices" {
            together = Command::new(env!("CARGO_BIN_EXE_divkd"));
            together.args(["reproduce", "quick", "--preset", "smoke", "--seeds", "2"]).current_dir(&folder);
        }
        let output = together.args(options).output().unwrap();
        assert_eq!(output.stdout, table, "{options:?}");
        let stderr = ended(output, 0);
        assert_eq!(stderr.matches("kept epoch").count(), runs, "every run is trained once: {stderr}");
        assert!(!stderr.contains("is trained by"), "{stderr}");
        assert!(results(folder.path()) == expected, "{options:?}");
        assert_eq!(leftovers(folder.path()), Vec::<PathBuf>::new());
        let info = fs::read_to_string(folder.path().join("runs/quick-smoke/be/seed-2/run.toml")).unwrap();
        assert!(info.contains("\ndevice = \"cpu\"\n"), "{info}");
    }
}

#[test]
fn a_signal_stops_all_with_a_checkpoint_each() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = all_in_training(folder.path());
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143), "{}", err(folder.path()));
    let stderr = err(folder.path());
    assert_eq!(stderr.matches("  stopped in epoch ").count(), 3, "{stderr}");
    assert!(stderr.contains("quick-smoke: 0 of 3 runs are finished"), "{stderr}");
    let line = stderr.lines().last().unwrap().strip_prefix("stopped by SIGTERM; to go on: ").unwrap();

    let output = Command::new("sh").args(["-c", line]).current_dir(folder.path()).output().unwrap();
    let stderr = ended(output, 0);
    assert_eq!(stderr.matches("resumed teacher-").count(), 3, "{stderr}");
    assert!(&results(folder.path()) == undisturbed());
    assert_eq!(leftovers(folder.path()), Vec::<PathBuf>::new());
}

/// A quarter of the time that they take one after the other; twice as long where a process could store nothing.
#[test]
fn a_time_limit_holds_for_all_of_them() {
    let whole = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    run(whole.path(), &TEACHERS[..8], 0);
    let mut limit = begun.elapsed() / 4;

    let folder = tempfile::tempdir().unwrap();
    let mut stops = 0;
    loop {
        let text = format!("{}ms", limit.as_millis());
        let begun = Instant::now();
        let output = command(folder.path(), &TEACHERS).args(["--time-limit", &text]).output().unwrap();
        assert!(begun.elapsed() < limit + Duration::from_secs(30), "{text}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            break;
        }
        stops += 1;
        assert!(stops < 100, "{stderr}");
        assert_eq!(output.status.code(), Some(75), "{stderr}");
        assert!(folders(folder.path(), ".tmp-").iter().all(|draft| !draft.exists()), "a record was begun");
        let last = stderr.lines().last().unwrap();
        assert!(last.starts_with(&format!("stopped by --time-limit {text}")), "{last}");
        if last.contains("before anything new was stored") {
            limit *= 2;
        }
    }
    assert!(stops > 0, "it was over within {limit:?}");
    assert!(results(folder.path()) == results(whole.path()), "after {stops} stops");
    assert_eq!(leftovers(folder.path()), Vec::<PathBuf>::new());
}

/// A killed process has three runs; the next one goes on with all of them at once.
#[test]
fn a_killed_process_is_followed_in_all_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = all_in_training(folder.path());
    child.kill().unwrap();
    child.wait().unwrap();
    let stderr = run(folder.path(), &TEACHERS, 0);
    assert_eq!(stderr.matches("resumed teacher-").count(), 3, "{stderr}");
    assert!(&results(folder.path()) == undisturbed());
    assert_eq!(leftovers(folder.path()), Vec::<PathBuf>::new());
}

/// At a rate of 1e30 a BatchEnsemble overflows at once.
#[test]
fn a_run_that_fails_stops_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--methods", "be,kd,be-kd", "--set", "student.lr=1e30", "--concurrent-runs", "3"];
    let stderr = run(folder.path(), &settings, 1);
    assert!(
        stderr.contains("error: 2 of 7 runs failed, 0 need them:\n  be/seed-1: the loss is "),
        "{stderr}"
    );
    assert_eq!(stderr.matches("  failed: ").count(), 2, "each is tried once: {stderr}");
    let rows: Vec<String> =
        record::scan(&folder.path().join("runs")).unwrap().into_iter().map(|found| found.row).collect();
    assert_eq!(rows, ["teacher-1", "teacher-2", "teacher-3", "teacher-4", "kd"]);
}

/// What concerns all, such as a disk, ends all of them, with a checkpoint where there can be one, and is said once: a file comes
/// into the place of the second teacher's checkpoints.
#[test]
fn an_error_that_concerns_all_ends_all() {
    let folder = tempfile::tempdir().unwrap();
    let [_, second, _] = folders(folder.path(), ".tmp-checkpoints-");
    let mut child = all_in_training(folder.path());
    // So that it writes nothing in between.
    signal(&child, "STOP");
    fs::remove_dir_all(&second).unwrap();
    fs::write(&second, "").unwrap();
    signal(&child, "CONT");
    assert_eq!(child.wait().unwrap().code(), Some(1), "{}", err(folder.path()));
    let stderr = err(folder.path());
    assert_eq!(stderr.matches("error: ").count(), 1, "{stderr}");
    assert!(stderr.contains("runs/quick-smoke/teacher-2/.tmp-checkpoints-seed-1"), "{stderr}");
    assert!(!stderr.contains("to go on: "), "{stderr}");
    assert_eq!(stderr.matches("  stopped in epoch ").count(), 2, "{stderr}");

    fs::remove_file(&second).unwrap();
    let stderr = run(folder.path(), &TEACHERS, 0);
    assert_eq!(stderr.matches("resumed teacher-").count(), 2, "{stderr}");
    assert!(&results(folder.path()) == undisturbed());
}

/// Two processes with two runs each: they tell of each other's, not of their own.
#[test]
fn processes_with_several_runs_share_a_plan() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--methods", "teacher,kd", "--seeds", "2", "--concurrent-runs", "2"];
    let names = ["err-1", "err-2"];
    let mut children = names.map(|name| start(folder.path(), &settings, name));
    let mut kept = 0;
    let codes = children.each_mut().map(|child| child.wait().unwrap().code());
    for (name, child) in names.iter().zip(&children) {
        let err = fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(codes, [Some(0), Some(0)], "{err}");
        assert!(!err.contains(&format!("is trained by process {} on", child.id())), "{err}");
        kept += err.matches("kept epoch").count();
    }
    assert_eq!(kept, 10, "every run is trained once");
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), &settings[..4], 0);
    assert!(results(folder.path()) == results(whole.path()));
    assert_eq!(leftovers(folder.path()), Vec::<PathBuf>::new());
}
