//! Losses that are not finite.

use std::process::Command;

use results::record;

use crate::support::{checkpoints, run};

/// At a rate of 1e30 from the second epoch on (the first trains at none) the network overflows. The first epoch's
/// checkpoint stays.
#[test]
fn a_loss_that_is_not_finite_stops_the_run_and_names_the_layer() {
    let folder = tempfile::tempdir().unwrap();
    let settings = [
        "--methods",
        "teacher",
        "--members",
        "1",
        "--set",
        "teacher.lr=1e30",
        "--set",
        "teacher.schedule.milestones=[2,2,3]",
        "--set",
        "teacher.schedule.warmup_factor=0",
    ];
    let stderr = run(folder.path(), &settings, 1);
    let message = stderr.lines().find(|line| line.starts_with("error: ")).unwrap();
    for part in [
        "the loss is ",
        "(ce ",
        "at epoch 2, step ",
        "rate 1",
        "layer that is not finite is `backbone.layers.",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let kept = checkpoints(folder.path());
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].ends_with("epoch-000001-step-00000000.safetensors"), "{kept:?}");
}

/// A student that fails does not keep the others from being trained.
#[test]
fn the_other_runs_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let settings = ["--methods", "be,kd", "--set", "student.lr=1e30"];
    let stderr = run(folder.path(), &settings, 1);
    assert!(stderr.contains("error: be/seed-1 failed in epoch 1: the loss is "), "{stderr}");
    let rows: Vec<String> =
        record::scan(&folder.path().join("runs")).unwrap().into_iter().map(|found| found.row).collect();
    assert_eq!(rows, ["teacher-1", "teacher-2", "teacher-3", "teacher-4", "kd"]);

    let status = Command::new(env!("CARGO_BIN_EXE_divkd")).arg("status").current_dir(folder.path()).output();
    let status = String::from_utf8(status.unwrap().stdout).unwrap();
    assert!(status.starts_with("quick-smoke: 6 runs: 5 done, 0 running, 0 waiting, 1 failed"), "{status}");
    assert!(
        status.lines().any(|line| line.contains("be/seed-1") && line.contains("failed   the loss is ")),
        "{status}"
    );
}
