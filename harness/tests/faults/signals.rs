//! SIGINT and SIGTERM: a checkpoint within the epoch, the shell's exit code, and the line that goes on; nothing lost
//! between two analyses.

use std::fs::{self, File};
use std::process::Command;
use std::time::Duration;

use crate::support::{TEACHER, checkpoints, ended, results, run, signal, start, undisturbed, until};

#[test]
fn a_signal_leaves_a_checkpoint_and_the_line_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut line = String::new();
    let mut within = 0;
    for (round, (name, code)) in [("INT", 130), ("TERM", 143), ("INT", 130)].into_iter().enumerate() {
        let before = checkpoints(folder.path());
        let mut child = start(folder.path(), &TEACHER, "err");
        until("a checkpoint", || {
            assert_eq!(child.try_wait().unwrap(), None, "over before the signal came");
            checkpoints(folder.path()) != before
        });
        std::thread::sleep(Duration::from_millis(17 * round as u64));
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(code));
        let err = fs::read_to_string(folder.path().join("err")).unwrap();
        let last = err.lines().last().unwrap();
        line = last.strip_prefix(&format!("stopped by SIG{name}; to go on: ")).expect(last).to_owned();
        let newest = checkpoints(folder.path()).pop().unwrap();
        within += usize::from(!newest.to_string_lossy().ends_with("-step-00000000.safetensors"));
    }
    assert!(within > 0, "no signal came within an epoch");

    let output = Command::new("sh").args(["-c", &line]).current_dir(folder.path()).output().unwrap();
    let stderr = ended(output, 0);
    assert!(stderr.contains("resumed teacher-1/seed-1 at epoch "), "{stderr}");
    assert!(&results(folder.path()) == undisturbed());
}

/// A signal between two analyses: those that are stored are not computed again.
#[test]
fn a_signal_between_analyses_loses_none() {
    let whole = tempfile::tempdir().unwrap();
    let all = run(whole.path(), &[], 0).matches("  analysed, ").count();
    let folder = tempfile::tempdir().unwrap();
    let mut child = start(folder.path(), &[], "err");
    let err = || fs::read_to_string(folder.path().join("err")).unwrap();
    until("an analysis", || err().contains("  analysed, ") || child.try_wait().unwrap().is_some());
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143), "{}", err());
    let before = err().matches("  analysed, ").count();
    let after = run(folder.path(), &[], 0);
    assert!(!after.contains("kept epoch"), "{after}");
    assert_eq!(before + after.matches("  analysed, ").count(), all, "{after}");
    assert!(results(folder.path()) == results(whole.path()));
}

/// The same of `analyze`, which prints no table of what it has not finished.
#[test]
fn a_signal_between_analyses_stops_analyze_too() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &[], 0);
    let whole = results(folder.path());
    let stored = folder.path().join("runs/quick-smoke/analysis");
    let all = fs::read_dir(&stored).unwrap().count();
    fs::remove_dir_all(&stored).unwrap();
    let analyze = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_divkd"));
        command.args(["analyze", "diversity", "--device", "cpu"]).current_dir(folder.path());
        command
    };
    let [out, err] = ["out", "err"].map(|name| folder.path().join(name));
    let mut child =
        analyze().stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap()).spawn().unwrap();
    let said = || fs::read_to_string(&err).unwrap();
    until("an analysis", || said().contains("  analysed, ") || child.try_wait().unwrap().is_some());
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", said());
    assert!(said().lines().last().unwrap().starts_with("stopped by SIGINT; to go on: "), "{}", said());
    assert_eq!(fs::read_to_string(&out).unwrap(), "");
    let before = fs::read_dir(&stored).unwrap().count();
    assert!((1..all).contains(&before), "{before} of {all}");

    let after = ended(analyze().output().unwrap(), 0);
    assert_eq!(before + after.matches("  analysed, ").count(), all, "{after}");
    assert!(results(folder.path()) == whole);
}
