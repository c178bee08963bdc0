//! `divkd pack` in the middle of a plan, `divkd unpack` elsewhere, and on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::train::checkpoint;
use results::record::Record;

use crate::support::{command, ended, leftovers, results, run, signal, start, until};

/// Two teachers and a student of theirs that takes long enough to be caught in its middle: 12 epochs of 24 steps, each with a
/// rate of its own.
const PLAN: [&str; 10] = [
    "--methods",
    "teacher,be-kd",
    "--members",
    "2",
    "--set",
    "recipe.be-kd.epochs=12",
    "--set",
    "recipe.be-kd.batch=4",
    "--set",
    "recipe.be-kd.schedule={decay='cosine',milestones=[2,2,12]}",
];

fn divkd(folder: &Path, args: &[&str], code: i32) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_divkd")).args(args).current_dir(folder).output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    stdout + &ended(output, code)
}

/// The newest checkpoint of the student.
fn newest(folder: &Path) -> Option<PathBuf> {
    checkpoint::newest(&checkpoint::dir(&folder.join("runs/quick-smoke"), "be-kd", 1)).unwrap()
}

/// Stops the plan with both teachers finished and the student within an epoch.
fn stop_in_the_middle(folder: &Path) {
    loop {
        let before = newest(folder);
        let mut child = start(folder, &PLAN, "err");
        until("a checkpoint of the student", || {
            assert_eq!(child.try_wait().unwrap(), None, "over before it was stopped");
            newest(folder) != before
        });
        signal(&child, "TERM");
        assert_eq!(child.wait().unwrap().code(), Some(143));
        if newest(folder).is_some_and(|path| !path.to_string_lossy().ends_with("-step-00000000.safetensors"))
        {
            return;
        }
    }
}

#[test]
fn a_plan_that_was_carried_ends_in_the_same_bytes() {
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), &PLAN, 0);
    let record = Record::open(&whole.path().join("runs/quick-smoke/be-kd/seed-1")).unwrap();
    // The preset's rate is 0.005, warmed up from a half, down to a hundredth. After 23 of 24 steps of epochs 1 and 12: half and
    // 23/48 of a half; the cosine's last step but one, 239/240 of the way.
    let fallen = 0.5 * (1.0 - (std::f64::consts::PI * 239.0 / 240.0).cos());
    let epochs = record.epochs().unwrap();
    for (epoch, factor) in [(1, 0.5 + 0.5 * 23.0 / 48.0), (12, 1.0 - 0.99 * fallen)] {
        let lr = epochs[epoch - 1].lr;
        assert!((lr - 0.005 * factor).abs() < 1e-12, "epoch {epoch}: {lr}");
    }

    let here = tempfile::tempdir().unwrap();
    stop_in_the_middle(here.path());
    let said = divkd(here.path(), &["pack", "runs", "--out", "packed"], 0);
    // The plan, two records of five files and a checkpoint.
    assert!(said.contains("packed 12 files in 2, "), "{said}");
    let sizes: Vec<u64> = fs::read_dir(here.path().join("packed"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert!(sizes.len() <= 8 && sizes.iter().all(|size| *size <= 16 << 20), "{sizes:?}");
    assert!(divkd(here.path(), &["pack", "runs", "--out", "packed"], 1).contains("packed is not empty"));

    let there = tempfile::tempdir().unwrap();
    let packed = here.path().join("packed").display().to_string();
    assert!(divkd(there.path(), &["unpack", &packed], 0).contains("unpacked 12 files, 0 not needed"));
    assert!(divkd(there.path(), &["unpack", &packed], 0).contains("unpacked 0 files, 12 not needed"));
    let err = run(there.path(), &PLAN, 0);
    assert!(err.contains("3 runs, 2 finished, 1 to train"), "{err}");
    assert!(err.contains("resumed be-kd/seed-1 at epoch "), "{err}");
    assert!(results(there.path()) == results(whole.path()));
    let analysis = "runs/quick-smoke/analysis/teachers.seed-1.safetensors";
    assert!(fs::read(there.path().join(analysis)).unwrap() == fs::read(whole.path().join(analysis)).unwrap());
    assert_eq!(leftovers(there.path()), Vec::<PathBuf>::new());

    // The student is finished here: its checkpoint is of no use. Nothing is overwritten.
    assert!(divkd(there.path(), &["unpack", &packed], 0).contains("unpacked 0 files, 12 not needed"));
    assert_eq!(leftovers(there.path()), Vec::<PathBuf>::new());
    let metrics = there.path().join("runs/quick-smoke/teacher-2/seed-1/metrics.csv");
    fs::write(&metrics, "mine").unwrap();
    fs::remove_dir_all(there.path().join("runs/quick-smoke/teacher-1")).unwrap();
    let said = divkd(there.path(), &["unpack", &packed], 1);
    let conflict =
        "nothing was unpacked, name another --out:\n  runs/quick-smoke/teacher-2/seed-1/metrics.csv\n";
    assert!(said.contains(conflict), "{said}");
    assert_eq!(fs::read(&metrics).unwrap(), b"mine");
    assert!(!there.path().join("runs/quick-smoke/teacher-1").exists());

    // Finished, it is carried without a checkpoint.
    divkd(whole.path(), &["pack", "runs/quick-smoke", "--out", "packed"], 0);
    divkd(whole.path(), &["unpack", "packed", "--out", "again"], 0);
    assert!(whole.path().join(analysis.replacen("runs", "again", 1)).is_file());
    let output = command(whole.path(), &PLAN).args(["--out", "again"]).output().unwrap();
    assert!(ended(output, 0).contains("3 runs, 3 finished, 0 to train"));
}

/// A run that another process trains is left alone.
#[test]
fn a_run_in_training_is_not_unpacked_over() {
    let here = tempfile::tempdir().unwrap();
    stop_in_the_middle(here.path());
    divkd(here.path(), &["pack", "runs", "--out", "packed"], 0);
    let mut child = start(here.path(), &PLAN, "err");
    let claim = here.path().join("runs/quick-smoke/be-kd/.tmp-claim-seed-1/000001.toml");
    until("the claim", || claim.is_file());
    let said = divkd(here.path(), &["unpack", "packed"], 1);
    assert!(said.contains("be-kd/seed-1 is trained by process "), "{said}");
    signal(&child, "TERM");
    child.wait().unwrap();
}
