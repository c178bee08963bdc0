//! Submitting: killed, twice at once, refused, planned, cancelled.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::cluster::{Cluster, start, succeeded, text, until, whole};

/// Killed after `sbatch` has taken a job and before its number is known, and started again.
#[test]
fn a_submitter_is_killed_and_started_again() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let path = std::env::var("PATH").unwrap();
    let slow = cluster.folder().join("slow");
    fs::create_dir(&slow).unwrap();
    let script = format!("#!/bin/sh\nPATH='{path}' sbatch \"$@\" && touch taken\nsleep 5\n");
    fs::write(slow.join("sbatch"), script).unwrap();
    fs::set_permissions(slow.join("sbatch"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = cluster.reproduce(&["--wait"]);
    command.env("PATH", format!("{}:{path}", slow.display()));
    let mut first = start(command, &cluster.folder().join("err"));
    until("a job is taken", || cluster.folder().join("taken").exists());
    first.kill().unwrap();
    first.wait().unwrap();
    let ledger = cluster.runs().join(".slurm/1/jobs.toml");
    assert!(!fs::read_to_string(&ledger).unwrap().contains("id = "), "killed too late");

    let (files, printed) = whole();
    let again = cluster.reproduce(&["--wait"]).output().unwrap();
    let err = text(&again.stderr);
    assert_eq!(&succeeded(again), printed);
    // Found by its name where it was still in the queue; else it was over already. Either way nobody submitted it again.
    assert!(!err.contains("teachers-seed-1,"), "{err}");
    cluster.check(files);
}

#[test]
fn two_submitters_at_once_submit_once() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let (files, printed) = whole();
    let errs = ["err-1", "err-2"].map(|name| cluster.folder().join(name));
    let children =
        errs.each_ref().map(|err| start(cluster.reproduce(&["--runs-per-job", "3", "--wait"]), err));
    for child in children {
        assert_eq!(&succeeded(child.wait_with_output().unwrap()), printed);
    }
    let err = errs.map(|err| fs::read_to_string(err).unwrap()).concat();
    for job in
        ["teachers-seed-1, 4 runs in 2 tasks", "scratch-seed-1, 1 runs", "students-seed-1, 7 runs in 3 tasks"]
    {
        assert_eq!(err.matches(job).count(), 1, "{job}: {err}");
    }
    assert_eq!(err.matches("evaluate, ").count(), 1, "{err}");
    cluster.check(files);
}

#[test]
fn refusals_are_quoted_and_jobs_cancelled() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let refused = cluster.reproduce(&["--slurm", "partition=nowhere"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let err = text(&refused.stderr);
    assert!(err.contains("sbatch refuses: sbatch: error: invalid partition specified: nowhere"), "{err}");
    assert!(err.contains("0 of 4 jobs submitted; start the same command again"), "{err}");

    succeeded(cluster.reproduce(&["--slurm", "begin=now+1hour"]).output().unwrap());
    let status = succeeded(cluster.divkd(&["status"]).output().unwrap());
    assert!(status.starts_with("quick-smoke: 12 runs: 0 done, 0 running, 12 waiting, 0 failed"), "{status}");
    assert!(status.contains("\n  teacher-4/seed-1            waiting  job "), "{status}");
    let again = cluster.reproduce(&[]).output().unwrap();
    assert!(
        text(&again.stderr).contains("12 runs are in the queue or in training already\nnothing to submit")
    );

    // Jobs of other settings are not what is asked for.
    let other = cluster.reproduce(&["--set", "method.be-kd.tau=1"]).output().unwrap();
    let err = text(&other.stderr);
    assert_eq!(other.status.code(), Some(1), "{err}");
    assert!(err.contains("be-kd/seed-1 is in the queue with other settings (job "), "{err}");
    assert!(err.contains("method.tau: was 4.0, is 1"), "{err}");

    let cancel = cluster.divkd(&["cancel"]).output().unwrap();
    assert!(text(&cancel.stderr).contains("4 jobs cancelled"), "{}", text(&cancel.stderr));
    assert_eq!(cluster.ask("squeue", &["--noheader"]), "");
    let status = succeeded(cluster.divkd(&["status", "runs/quick-smoke"]).output().unwrap());
    assert!(status.contains(" left the queue before it began (cancelled, or "), "{status}");
}
