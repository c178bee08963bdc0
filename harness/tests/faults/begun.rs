//! What `divkd status` tells of runs that nobody planned: those of `divkd run`, which other schedulers start.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{TEACHER, run, signal, until};

/// `divkd run` of the first teacher on seed 2.
fn one(folder: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_divkd"));
    let run = ["run", "quick", "teacher-1", "--seed", "2", "--preset", "smoke", "--device", "cpu"];
    command.args(run).args(more).current_dir(folder).stderr(Stdio::null());
    command
}

fn status(folder: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_divkd")).arg("status").current_dir(folder).output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

/// What `divkd table` says beside the table.
fn noted(folder: &Path) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_divkd")).args(["table", "runs"]).current_dir(folder).output();
    let output = output.unwrap();
    assert!(output.status.success() && !output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_run_without_a_plan_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = one(folder.path(), &TEACHER[2..]).spawn().unwrap();
    until("it is seen in training", || {
        assert_eq!(child.try_wait().unwrap(), None, "over before it was seen");
        let status = status(folder.path());
        status.starts_with("quick-smoke: 1 runs: 0 done, 1 running, 0 waiting, 0 failed")
            && status.contains("\n  teacher-1/seed-2  running  ")
    });
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let stopped = status(folder.path());
    assert!(stopped.contains("\n  teacher-1/seed-2  waiting  stopped in epoch "), "{stopped}");

    let folder = tempfile::tempdir().unwrap();
    let fails = ["--set", "teacher.lr=1e30"];
    assert_eq!(one(folder.path(), &fails).status().unwrap().code(), Some(1));
    let failed = status(folder.path());
    assert!(failed.contains("\n  teacher-1/seed-2  failed   the loss is "), "{failed}");
}

/// Nor is what kept a run from its first step lost with the terminal: a cluster's jobs have none.
#[test]
fn a_run_that_never_began_has_failed() {
    let folder = tempfile::tempdir().unwrap();
    let code = |command: &mut Command| command.status().unwrap().code();
    assert_eq!(code(one(folder.path(), &["--precision", "bf16"]).stderr(Stdio::null())), Some(1));
    let failed = status(folder.path());
    assert!(failed.starts_with("quick-smoke: 1 runs: 0 done, 0 running, 0 waiting, 1 failed"), "{failed}");
    assert!(failed.contains("teacher-1/seed-2  failed   --precision bf16"), "{failed}");
    // Begun again it has not failed any more, also where it does not end.
    let mut child = one(folder.path(), &TEACHER[2..]).spawn().unwrap();
    until("it is seen in training", || status(folder.path()).contains("  epoch 2/"));
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let stopped = status(folder.path());
    assert!(stopped.contains("\n  teacher-1/seed-2  waiting  stopped in epoch "), "{stopped}");
}

/// A student without one of its teachers fails alone, says what to do, and does well once that is done.
#[test]
fn a_teacher_without_its_model_stops_its_students_alone() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = ["--members", "1", "--methods", "teacher"];
    let all = ["--members", "1", "--methods", "teacher,kd,be-kd", "--seeds", "2"];
    run(folder.path(), &teacher, 0);
    let model = folder.path().join("runs/quick-smoke/teacher-1/seed-1/model.safetensors");
    let bytes = fs::read(&model).unwrap();
    let advice = "remove runs/quick-smoke/teacher-1/seed-1 and ";
    for (damage, why) in [
        (None, "seed-1/model.safetensors is needed and not there: restore it, or "),
        (Some(&bytes[..40]), "seed-1/model.safetensors is not the model that its run kept: restore it, or "),
    ] {
        let _ = fs::remove_file(&model);
        if let Some(damage) = damage {
            fs::write(&model, damage).unwrap();
        }
        let stderr = run(folder.path(), &all, 1);
        let told = stderr.lines().filter(|line| line.contains(" failed before its first step: ")).count();
        assert!(told >= 2 && stderr.contains(why) && stderr.contains(advice), "{stderr}");
        assert!(stderr.contains("2 of "), "{stderr}");
        let seen = status(folder.path());
        assert!(seen.starts_with("quick-smoke: 6 runs: 4 done, 0 running, 0 waiting, 2 failed"), "{seen}");
        assert!(
            seen.contains(&format!("kd/seed-1         failed   runs/quick-smoke/teacher-1/{why}")),
            "{seen}"
        );
        let noted = noted(folder.path());
        assert!(noted.starts_with("note: 2 of the 6 runs that were asked for in "), "{noted}");
    }
    fs::remove_dir_all(model.parent().unwrap()).unwrap();
    run(folder.path(), &all, 0);
    assert_eq!(noted(folder.path()), "");
    let seen = status(folder.path());
    assert!(seen.starts_with("quick-smoke: 6 runs: 6 done"), "{seen}");
}

/// What every command that reads the record refuses is not done.
#[test]
fn a_damaged_record_is_not_called_done() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(one(folder.path(), &[]).status().unwrap().code(), Some(0));
    let done = status(folder.path());
    assert!(done.starts_with("quick-smoke: 1 runs: 1 done, 0 running, 0 waiting, 0 failed"), "{done}");
    fs::remove_file(folder.path().join("runs/quick-smoke/teacher-1/seed-2/predictions.safetensors")).unwrap();
    let damaged = status(folder.path());
    assert!(damaged.starts_with("quick-smoke: 1 runs: 0 done, 0 running, 0 waiting, 1 failed"), "{damaged}");
    assert!(damaged.contains("is incomplete: predictions.safetensors is missing"), "{damaged}");
}

/// Not taken for none, which would be written over what is there.
#[test]
fn a_damaged_plan_is_named_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("runs/quick-smoke");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("plan.toml"), "[[row]\n").unwrap();
    let stderr = run(folder.path(), &TEACHER, 1);
    assert!(stderr.contains("runs/quick-smoke/plan.toml: not a plan; remove it"), "{stderr}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing was begun");
    assert_eq!(fs::read_to_string(dir.join("plan.toml")).unwrap(), "[[row]\n");
}
