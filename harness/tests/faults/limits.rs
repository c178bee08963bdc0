//! `--time-limit`: stopped again and again, the same command ends in the same bytes.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::support::{TEACHER, checkpoints, command, leftovers, results, run};

/// A third of the time that an undisturbed run takes, its start included; twice as long where a process could store nothing.
#[test]
fn a_time_limit_stops_at_checkpoints_and_the_same_command_goes_on() {
    let whole = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    run(whole.path(), &TEACHER, 0);
    let mut limit = begun.elapsed() / 3;

    let folder = tempfile::tempdir().unwrap();
    let draft = folder.path().join("runs/quick-smoke/teacher-1/.tmp-seed-1");
    let mut stops = 0;
    loop {
        let text = format!("{}ms", limit.as_millis());
        let begun = Instant::now();
        let output = command(folder.path(), &TEACHER).args(["--time-limit", &text]).output().unwrap();
        assert!(begun.elapsed() < limit + Duration::from_secs(30), "{text}");
        let err = String::from_utf8_lossy(&output.stderr);
        if output.status.success() {
            break;
        }
        stops += 1;
        assert!(stops < 100, "{err}");
        assert_eq!(output.status.code(), Some(75), "{err}");
        assert!(!draft.exists(), "a record was being written");
        let last = err.lines().last().unwrap();
        assert!(last.starts_with(&format!("stopped by --time-limit {text}")), "{last}");
        assert!(last.contains("; to go on: ") && last.ends_with(&format!("--time-limit {text}")), "{last}");
        let far = ["quick-smoke: 0 of 1 runs are finished", "missing analyses are stored"];
        assert!(far.iter().any(|line| err.contains(line)), "{err}");
        if last.contains("before anything new was stored") {
            limit *= 2;
        } else {
            // A finished run has no checkpoints any more: what was stored then are its record and its analyses.
            let is_finished = folder.path().join("runs/quick-smoke/teacher-1/seed-1").is_dir();
            assert!(is_finished || !checkpoints(folder.path()).is_empty(), "{err}");
        }
    }
    assert!(stops > 0, "it was over within {limit:?}");
    assert!(results(folder.path()) == results(whole.path()), "after {stops} stops");
    assert_eq!(leftovers(folder.path()), Vec::<PathBuf>::new());
}

/// A limit that is over before the first step.
#[test]
fn a_limit_too_short_for_anything_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let err = run(folder.path(), &[&TEACHER[..], &["--time-limit", "1ms"]].concat(), 75);
    let last = err.lines().last().unwrap();
    let expected =
        "stopped by --time-limit 1ms before anything new was stored: give it more time; to go on: ";
    assert!(last.starts_with(expected), "{last}");
    assert!(fs::read_dir(folder.path().join("runs/quick-smoke")).is_err(), "nothing was begun");
}

/// A folder's name need not be UTF-8 on Linux; the line that goes on has its bytes as Bash reads them.
#[test]
#[cfg(target_os = "linux")]
fn a_folders_name_may_have_any_bytes() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    use crate::support::ended;

    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path(), &[&TEACHER[..], &["--time-limit", "1ms", "--out"]].concat());
    let err = ended(command.arg(OsStr::from_bytes(b"b3\xff")).output().unwrap(), 75);
    assert!(err.trim_end().ends_with(r" --time-limit 1ms --out $'b3\xff'"), "{err}");
}
