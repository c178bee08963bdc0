//! Several processes on one folder.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::support::{TEACHER, checkpoints, leftovers, results, run, signal, start, undisturbed, until};

#[test]
fn two_processes_share_the_runs() {
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), &[], 0);
    let folder = tempfile::tempdir().unwrap();
    let mut children = ["err-1", "err-2"].map(|err| start(folder.path(), &[], err));
    for child in &mut children {
        child.wait().unwrap();
    }
    let (mut kept, mut analysed) = (0, 0);
    for err in ["err-1", "err-2"] {
        let err = fs::read_to_string(folder.path().join(err)).unwrap();
        assert!(!err.contains("error:"), "{err}");
        kept += err.matches("kept epoch").count();
        analysed += err.matches("  analysed, ").count();
    }
    let expected = results(whole.path());
    let runs = expected.iter().filter(|(path, _)| path.ends_with("metrics.csv")).count();
    assert_eq!(kept, runs, "every run is trained once");
    let analyses = expected.keys().filter(|path| path.starts_with("quick-smoke/analysis")).count();
    assert!(analyses > 1);
    assert_eq!(analysed, analyses, "every row is analysed once");
    assert!(results(folder.path()) == expected);
    assert_eq!(leftovers(folder.path()), Vec::<PathBuf>::new());
}

/// The second process finds the only run taken, waits, and goes on with it when the first is killed.
#[test]
fn a_dead_owners_run_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = start(folder.path(), &TEACHER, "err-1");
    until("a checkpoint", || !checkpoints(folder.path()).is_empty());
    // Stopped, so that it holds the run for as long as this test likes.
    signal(&first, "STOP");
    let mut second = start(folder.path(), &TEACHER, "err-2");
    let err = || fs::read_to_string(folder.path().join("err-2")).unwrap();
    let holder = format!("teacher-1/seed-1  is trained by process {} on ", first.id());
    until("the second waits", || err().contains(&holder));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(second.try_wait().unwrap(), None, "{}", err());
    assert!(!err().contains("resumed"), "{}", err());
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait().unwrap().success(), "{}", err());
    assert!(err().contains("resumed teacher-1/seed-1 at epoch "), "{}", err());
    assert!(&results(folder.path()) == undisturbed());
    assert_eq!(leftovers(folder.path()), Vec::<PathBuf>::new());
}
