//! Several processes on one folder.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::require::available;
use crate::support::{
    TEACHER, checkpoints, command, leftovers, results, run, signal, start, undisturbed, until,
};

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

/// Another user's process, to whom `/proc` shows none but its own, waits for a holder that lives.
#[test]
fn a_holder_that_is_hidden_is_not_dead() {
    let hidden = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c"]);
        command.arg(
            "mount -t proc -o hidepid=2 proc /proc && exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"",
        );
        command.args(["sh", program]);
        command
    };
    let output = hidden("sh")
        .args(["-c", "test ! -e /proc/1 && \"$0\" --version"])
        .arg(env!("CARGO_BIN_EXE_divkd"))
        .output();
    let can = output.map_err(|error| error.to_string()).and_then(|output| match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    });
    let Some(()) = available("hidepid", can) else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut first = start(folder.path(), &TEACHER, "err-1");
    until("a checkpoint", || !checkpoints(folder.path()).is_empty());
    signal(&first, "STOP");
    let open = Command::new("chmod").args(["-R", "a+rwX"]).arg(folder.path()).status();
    assert!(open.unwrap().success());
    let program = command(folder.path(), &TEACHER);
    let mut second = hidden(env!("CARGO_BIN_EXE_divkd"));
    second.args(program.get_args()).current_dir(folder.path());
    let err = File::create(folder.path().join("err-2")).unwrap();
    let mut second = second.stdout(Stdio::null()).stderr(err).spawn().unwrap();
    let err = || fs::read_to_string(folder.path().join("err-2")).unwrap();
    let holder = format!("teacher-1/seed-1  is trained by process {} on ", first.id());
    until("the second says what it does", || {
        err().contains(&holder) || !matches!(second.try_wait(), Ok(None))
    });
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(second.try_wait().unwrap(), None, "{}", err());
    assert!(err().contains(&holder) && !err().contains("resumed"), "{}", err());
    for child in [&mut second, &mut first] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
