//! One folder, one table: records of other settings or precision are refused, whatever rows are asked for.

use std::fs;
use std::path::Path;

use results::record::{RUN, RunInfo};

use crate::support::{command, ended, run};

/// One epoch of one row; no teachers.
const BE: [&str; 4] = ["--methods", "be", "--epochs", "1"];

fn record(folder: &Path, row: &str) -> std::path::PathBuf {
    folder.join("runs/quick-smoke").join(row).join("seed-1")
}

#[test]
fn records_of_rows_that_are_not_asked_for_are_held_to_the_settings_too() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &BE, 0);
    let other = ["--methods", "be-kd", "--members", "1", "--epochs", "1", "--set", "student.lr=0.05"];
    for more in [&[][..], &["--dry-run"], &["--executor", "none"], &["--executor", "slurm", "--dry-run"]] {
        let stderr = run(folder.path(), &[&other[..], more].concat(), 1);
        assert!(stderr.contains("be/seed-1 was made with other settings or data"), "{stderr}");
        assert!(stderr.contains("student.lr: was 0.005, is 0.05"), "{stderr}");
    }
    assert!(!record(folder.path(), "teacher-1").exists());

    // A recipe of its own is another only in what differs.
    let stderr = run(folder.path(), &[&BE[..], &["--set", "recipe.be.lr=0.05"]].concat(), 1);
    assert!(stderr.ends_with("or move it away:\n  recipe.lr: was 0.005, is 0.05\n"), "{stderr}");
    run(folder.path(), &[&BE[..], &["--set", "recipe.be.lr=0.005"]].concat(), 0);

    // More seeds and other rows of the same settings are no reason, nor is what other methods are told.
    run(
        folder.path(),
        &["--methods", "teacher", "--teachers", "4", "--epochs", "1", "--set", "method.kd.tau=2"],
        0,
    );

    // One run alone learns from teachers of its own settings.
    let kd = |more: &[&str]| {
        let args =
            ["run", "quick", "kd", "--seed", "1", "--preset", "smoke", "--device", "cpu", "--epochs", "1"];
        let program = command(folder.path(), &[]).get_program().to_owned();
        let output =
            std::process::Command::new(program).args(args).args(more).current_dir(folder.path()).output();
        output.unwrap()
    };
    let stderr = ended(kd(&["--set", "teacher.lr=0.2"]), 1);
    assert!(stderr.contains("teacher-1/seed-1 was made with other settings or data"), "{stderr}");
    // Nor does it join others that were trained otherwise.
    let stderr = ended(kd(&["--set", "student.lr=0.05"]), 1);
    assert!(stderr.contains("be/seed-1 was made with other settings or data"), "{stderr}");
    ended(kd(&[]), 0);
}

/// Nobody but who changed the program can tell whether its records still belong together.
#[test]
fn records_of_another_version_are_taken_and_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &BE, 0);
    let note = "made by other versions of divkd (1 by 0123456-dirty.89abcdef; this is ";
    assert!(!run(folder.path(), &BE, 0).contains("other versions"));
    let path = record(folder.path(), "be").join(RUN);
    let revision = format!("{}-dirty.89abcdef", "0123456789".repeat(4));
    let info = RunInfo { revision, ..RunInfo::read(&path).unwrap() };
    fs::remove_file(&path).unwrap();
    info.write(&path).unwrap();
    for more in [&[][..], &["--dry-run"], &["--executor", "none"]] {
        let stderr = run(folder.path(), &[&BE[..], more].concat(), 0);
        assert!(stderr.contains(note), "{stderr}");
    }
}

#[test]
fn records_of_another_precision_are_refused_and_those_of_pieces_are_not() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &BE, 0);
    let path = record(folder.path(), "be").join(RUN);
    let made_on = |device: &str| {
        let info = RunInfo { device: device.to_owned(), ..RunInfo::read(&path).unwrap() };
        fs::remove_file(&path).unwrap();
        info.write(&path).unwrap();
    };
    made_on("cuda:0 bf16 micro-batch 4");
    let stderr = run(folder.path(), &BE, 1);
    assert!(stderr.contains("precision: was \"bf16\", is \"f32\""), "{stderr}");
    // On the device that has it, or where nothing is computed.
    run(folder.path(), &[&BE[..], &["--executor", "none", "--precision", "bf16"]].concat(), 0);
    let stderr = run(folder.path(), &[&BE[..], &["--executor", "none", "--precision", "tf32"]].concat(), 1);
    assert!(stderr.contains("precision: was \"bf16\", is \"tf32\""), "{stderr}");
    made_on("cuda:0 micro-batch 4");
    run(folder.path(), &BE, 0);
}
