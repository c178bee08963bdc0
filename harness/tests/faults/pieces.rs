//! Runs on pieces of a batch.

use results::record::{EpochRow, LogRow, METRICS, RunInfo};

use crate::support::{TEACHER, checkpoints, results, run, stopped_with, undisturbed};

/// Batches of 4 images in groups of 2, the last of 3 in groups of 1 and 2, at a rate at which a difference in the last digit
/// stays small.
const GROUPS: [&str; 6] =
    ["--set", "bn_groups=2", "--set", "data.train_rows=95", "--set", "teacher.lr=0.001"];

fn in_groups(more: &[&'static str]) -> Vec<&'static str> {
    [&TEACHER[..], &GROUPS, more].concat()
}

/// Pieces that a batch fits into change no byte; smaller ones the last digits of the losses, and the record names them.
#[test]
fn pieces_keep_the_result() {
    let whole = tempfile::tempdir().unwrap();
    run(whole.path(), &[&TEACHER[..], &["--micro-batch", "4"]].concat(), 0);
    assert!(&results(whole.path()) == undisturbed());

    let losses = |more: &[&'static str]| {
        let folder = tempfile::tempdir().unwrap();
        run(folder.path(), &in_groups(more), 0);
        let record = folder.path().join("runs/quick-smoke/teacher-1/seed-1");
        let rows = EpochRow::read_all(&record.join(METRICS)).unwrap();
        let device = RunInfo::read(&record.join("run.toml")).unwrap().device;
        (device, rows.into_iter().map(|row| row.loss).collect::<Vec<_>>())
    };
    let (device, whole) = losses(&[]);
    let (device_in_pieces, pieces) = losses(&["--micro-batch", "2"]);
    assert_eq!((device.as_str(), device_in_pieces.as_str()), ("cpu", "cpu micro-batch 2"));
    assert_eq!(whole.len(), 12);
    // 24 steps an epoch carry the last digit of f32 on.
    for (pieces, whole) in pieces.iter().zip(&whole) {
        assert!((pieces / whole - 1.0).abs() < 2e-5, "{pieces} {whole}");
    }
    assert_ne!(pieces, whole, "the batch was not cut");
}

/// A checkpoint goes on with the same pieces alone, and then ends in the bytes of a run that was never stopped.
#[test]
fn a_checkpoint_of_other_pieces_is_refused() {
    let pieces = in_groups(&["--micro-batch", "2"]);
    let never = tempfile::tempdir().unwrap();
    run(never.path(), &pieces, 0);
    let folder = tempfile::tempdir().unwrap();
    stopped_with(folder.path(), &pieces);
    let stderr = run(folder.path(), &in_groups(&[]), 1);
    assert!(stderr.contains("was begun with other settings or data"), "{stderr}");
    assert!(stderr.contains("micro-batch: was 2"), "{stderr}");
    assert_eq!(checkpoints(folder.path()).len(), 2);
    run(folder.path(), &pieces, 0);
    assert!(results(folder.path()) == results(never.path()));
}
