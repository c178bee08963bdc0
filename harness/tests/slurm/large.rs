//! A plan of a thousand runs.

use std::time::Instant;

use crate::cluster::{Cluster, METHODS, succeeded};

/// 84 seeds of 4 teachers and 8 students: 1,008 runs, which no node begins.
#[test]
fn a_thousand_runs_are_submitted_seen_planned_and_cancelled() {
    let Some(cluster) = Cluster::start(&[("MAX_ARRAY_SIZE", "4")]) else { return };
    let begun = Instant::now();
    let submitted = cluster.reproduce(&["--seeds", "84", "--slurm", "begin=now+1day"]).output().unwrap();
    let submitting = begun.elapsed();
    let err = String::from_utf8_lossy(&submitted.stderr).into_owned();
    succeeded(submitted);
    assert_eq!(err.matches(": teachers-seed-").count(), 84, "{err}");
    // Seven students that need teachers, four tasks an array.
    assert!(
        err.contains("students-seed-84, 4 runs in 4 tasks") && err.contains("students-seed-84-2, 3 runs"),
        "{err}"
    );
    let tasks = cluster.ask("squeue", &["--noheader", "--array"]);
    assert_eq!(tasks.lines().count(), 1008 + 1);

    let begun = Instant::now();
    let status = succeeded(cluster.divkd(&["status"]).output().unwrap());
    let looking = begun.elapsed();
    assert!(status.starts_with("quick-smoke: 1008 runs: 0 done, 0 running, 1008 waiting"), "{status}");
    assert_eq!(status.lines().count(), 1 + 1008);

    let begun = Instant::now();
    let steps = "teacher=0.1,kd=0.2,be=0.3,be-kd=0.4,be-kd-gaussian=0.5,be-kd-ods=0.9,be-kd-conf-ods=0.9,latent-be=0.4,\
                 latent-be-tdiv-sdiv=0.9";
    let mut plan =
        cluster.divkd(&["plan", "quick", "--preset", "smoke", "--seeds", "84", "--devices", "1..128"]);
    plan.args(["--methods", METHODS]);
    for step in steps.split(',') {
        plan.args(["--step", step]);
    }
    let plan = succeeded(plan.output().unwrap());
    let planning = begun.elapsed();
    let rows = plan.lines().filter(|line| line.contains('%')).count();
    assert_eq!(rows, 128, "{plan}");
    // A task each, once the arrays are counted: 84 x (4 + 8).
    assert!(plan.starts_with("plan quick-smoke: 1008 runs, 0 finished, 1008 to train"), "{plan}");

    succeeded(cluster.divkd(&["cancel"]).output().unwrap());
    assert_eq!(cluster.ask("squeue", &["--noheader"]), "");
    // Measured, for the report; a busy machine is no failure.
    println!(
        "1,008 runs: submitted in {submitting:.2?}, status in {looking:.2?}, plan of 1..128 in {planning:.2?}"
    );
    assert!(looking.as_secs() < 30, "{looking:?}");
}
