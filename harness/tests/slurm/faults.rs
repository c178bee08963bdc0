//! Nodes that die, limits that are too short, runs that fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::cluster::{Cluster, local, start, succeeded, text, until};

/// One teacher that takes ten seconds and more.
const LONG: [&str; 8] =
    ["--methods", "teacher", "--members", "1", "--set", "teacher.epochs=600", "--set", "teacher.batch=16"];

/// The daemon of the node that trains, and all processes of the job, are killed at once.
#[test]
fn a_node_is_lost() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let (files, printed) = local(&LONG);
    let child = start(cluster.reproduce(&[&LONG[..], &["--wait"]].concat()), &cluster.folder().join("err"));
    let checkpoints = cluster.runs().join("teacher-1/.tmp-checkpoints-seed-1");
    until("two checkpoints", || fs::read_dir(&checkpoints).is_ok_and(|files| files.count() >= 4));
    let job = cluster.ask("squeue", &["--noheader", "--states=RUNNING", "--format=%A %N"]);
    let (job, node) = job.trim().split_once(' ').unwrap();
    let processes = processes_of(&cluster.folder().join("cluster/slurm.conf"), job);
    assert!(processes.len() >= 3, "the daemon of the step, the script, and the run: {processes:?}");
    let daemon = fs::read_to_string(cluster.folder().join(format!("cluster/run/{node}.pid"))).unwrap();
    let all = [daemon.trim().to_owned()].into_iter().chain(processes);
    assert!(Command::new("kill").arg("-KILL").args(all).status().unwrap().success());

    assert_eq!(succeeded(child.wait_with_output().unwrap()), printed);
    assert!(cluster.logs().contains("resumed teacher-1/seed-1 at epoch "), "{}", cluster.logs());
    cluster.check(&files);
}

/// The processes of a job, the one that manages its step first.
fn processes_of(conf: &Path, job: &str) -> Vec<String> {
    let (job, conf) = (format!("SLURM_JOB_ID={job}"), format!("SLURM_CONF={}", conf.display()));
    let mut found: Vec<(String, String)> = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
        let has = |line: &str| environment.split(|byte| *byte == 0).any(|at| at == line.as_bytes());
        if has(&job) && has(&conf) {
            let pid = entry.file_name().into_string().unwrap();
            found.push((pid, parent(&entry.path()).unwrap_or_default()));
        }
    }
    let own: Vec<String> = found.iter().map(|(pid, _)| pid.clone()).collect();
    let manager = found.iter().map(|(_, parent)| parent).find(|parent| !own.contains(parent));
    manager.cloned().into_iter().chain(own).collect()
}

fn parent(process: &Path) -> Option<String> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    status.lines().find_map(|line| Some(line.strip_prefix("PPid:")?.trim().to_owned()))
}

/// Slurm looks at limits every half minute, counted from its own start: the run begins shortly before.
#[test]
fn a_time_limit_is_shorter_than_a_run() {
    let begun = Instant::now();
    let Some(cluster) = Cluster::start(&[]) else { return };
    let (files, printed) = local(&LONG);
    until("Slurm is about to look at limits", || begun.elapsed().as_secs() % 30 >= 25);
    let options = ["--slurm", "time=1,signal=B:USR1@59", "--wait"];
    assert_eq!(succeeded(cluster.reproduce(&[&LONG[..], &options].concat()).output().unwrap()), printed);
    let logs = cluster.logs();
    for line in
        ["stopped by SIGUSR1; to go on: ", "goes back to the queue", "resumed teacher-1/seed-1 at epoch "]
    {
        assert!(logs.contains(line), "{line}: {logs}");
    }
    cluster.check(&files);
}

/// A student that fails in its first epoch at every attempt is given up at the third; the others are trained, and the last
/// job tells it.
#[test]
fn a_run_that_fails_three_times_is_given_up() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let args =
        ["--methods", "be,kd", "--set", "student.lr=1e30", "--set", "student.schedule.warmup_factor=1.0"];
    let output = cluster.reproduce(&[&args[..], &["--wait"]].concat()).output().unwrap();
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("1 of 6 runs are missing:\n  be/seed-1: the loss is "), "{err}");
    let logs = cluster.logs();
    for attempt in ["failure 1 of 3 there", "failure 2 of 3 there", "failure 3 of 3 there"] {
        assert_eq!(
            logs.matches(&format!("be/seed-1 failed in epoch 1, {attempt}: the loss is ")).count(),
            2,
            "{logs}"
        );
    }
    assert!(logs.contains("1 of 6 runs are missing"), "{logs}");
    assert!(text(&output.stdout).contains("\nkd ") && cluster.runs().join("table.csv").is_file());

    let log = PathBuf::from("runs/quick-smoke/.slurm/1/scratch-seed-1.0.log");
    let status = succeeded(cluster.divkd(&["status"]).output().unwrap());
    assert!(status.contains("5 done, 0 running, 0 waiting, 1 failed"), "{status}");
    let line = status.lines().find(|line| line.contains("be/seed-1")).unwrap();
    assert!(line.contains("failed   the loss is ") && line.ends_with(log.to_str().unwrap()), "{line}");
}

/// A fifth teacher of four members is for the ensemble's curve alone: where it cannot be trained, nobody else waits for it, and
/// its job's log is named although the run never began.
#[test]
fn students_wait_for_the_teachers_that_they_need() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    fs::create_dir_all(cluster.runs()).unwrap();
    fs::write(cluster.runs().join("teacher-5"), "no folder").unwrap();
    let args = ["--methods", "be-kd", "--teachers", "5", "--wait"];
    let output = cluster.reproduce(&args).output().unwrap();
    let err = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    let jobs = fs::read_to_string(cluster.runs().join(".slurm/1/jobs.toml")).unwrap();
    let id = jobs.lines().find_map(|line| line.strip_prefix("id = ")).unwrap();
    let needed: Vec<String> = (0..4).map(|task| format!("{id}_{task}")).collect();
    assert!(jobs.contains(&format!("dependency = \"afterok:{}\"", needed.join(":"))), "{jobs}");
    let why = format!("teacher-5/seed-1: job {id}_4 ended before the run began; log ");
    assert!(err.contains(&format!("1 of 6 runs are missing:\n  {why}")), "{err}");
    assert!(err.contains(".slurm/1/teachers-seed-1.4.log"), "{err}");
    assert!(text(&output.stdout).contains("\nbe-kd "), "{err}");
}
