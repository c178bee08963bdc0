//! Losses that are not finite.

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
