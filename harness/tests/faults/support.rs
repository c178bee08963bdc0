//! The binary on a folder of its own, and the bytes that it must leave there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use results::{analysis, record};

/// One teacher, for long enough to be caught in its middle: epochs of 24 steps.
pub(crate) const TEACHER: [&str; 8] =
    ["--methods", "teacher", "--members", "1", "--set", "teacher.epochs=12", "--set", "teacher.batch=4"];

pub(crate) fn command(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_divkd"));
    command.args(["reproduce", "quick", "--preset", "smoke", "--device", "cpu"]).args(more);
    command.current_dir(folder);
    command
}

/// Starts it; what it prints goes to the file `err` of its folder.
pub(crate) fn start(folder: &Path, more: &[&str], err: &str) -> Child {
    let err = File::create(folder.join(err)).unwrap();
    command(folder, more).stdout(Stdio::null()).stderr(err).spawn().unwrap()
}

/// Runs it to its end, which must be `code`; what it printed.
pub(crate) fn run(folder: &Path, more: &[&str], code: i32) -> String {
    ended(command(folder, more).output().unwrap(), code)
}

pub(crate) fn ended(output: Output, code: i32) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    stderr
}

pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The results of an undisturbed reproduction of [`TEACHER`], made once.
pub(crate) fn undisturbed() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &TEACHER, 0);
        results(folder.path())
    })
}

/// Predictions, metrics and models of all finished runs and the stored analyses, by their paths: what must not depend on
/// any disturbance.
pub(crate) fn results(folder: &Path) -> Files {
    let mut files = Files::new();
    let runs = folder.join("runs");
    for found in record::scan(&runs).unwrap() {
        for name in [record::PREDICTIONS, record::METRICS, record::MODEL] {
            let path =
                Path::new(&found.folder).join(&found.row).join(format!("seed-{}", found.seed)).join(name);
            files.insert(path.clone(), fs::read(runs.join(path)).unwrap());
        }
    }
    let analyses = Path::new("quick-smoke").join(analysis::FOLDER);
    for entry in fs::read_dir(runs.join(&analyses)).unwrap() {
        let path = analyses.join(entry.unwrap().file_name());
        files.insert(path.clone(), fs::read(runs.join(path)).unwrap());
    }
    files
}

/// Names that begin with a dot, anywhere below: there are none once everything is finished.
pub(crate) fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut below = vec![folder.to_owned()];
    while let Some(dir) = below.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with('.') {
                found.push(path);
            } else if path.is_dir() {
                below.push(path);
            }
        }
    }
    found
}

/// The checkpoints of the first teacher, oldest first.
pub(crate) fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let dir = folder.join("runs/quick-smoke/teacher-1/.tmp-checkpoints-seed-1");
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "safetensors"));
    files.sort();
    files
}

/// Waits until `holds`.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what}: not within two minutes");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends `signal` by its name.
pub(crate) fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Stops a reproduction of [`TEACHER`] in `folder` with two checkpoints.
pub(crate) fn stopped(folder: &Path) {
    stopped_with(folder, &TEACHER);
}

/// The same of a teacher with other options.
pub(crate) fn stopped_with(folder: &Path, more: &[&str]) {
    let mut child = start(folder, more, "err");
    until("two checkpoints", || checkpoints(folder).len() == 2);
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
}
