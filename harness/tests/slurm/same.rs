//! An undisturbed reproduction.

use crate::cluster::{Cluster, QUICK, succeeded, text, whole};

#[test]
fn a_cluster_ends_in_the_bytes_of_a_local_run() {
    let Some(cluster) = Cluster::start(&[]) else { return };
    let (files, printed) = whole();
    assert_eq!(&succeeded(cluster.reproduce(&["--wait"]).output().unwrap()), printed);
    cluster.check(files);

    // All of it is there: nothing is submitted, nothing trained.
    let again = cluster.reproduce(&["--wait"]).output().unwrap();
    assert!(text(&again.stderr).contains("nothing to submit"), "{}", text(&again.stderr));
    assert_eq!(&succeeded(again), printed);
    let run = cluster.divkd(&[&["run"], &QUICK[..], &["be", "--seed", "1"]].concat()).output().unwrap();
    assert!(text(&run.stderr).contains("be/seed-1 is finished"), "{}", text(&run.stderr));
    succeeded(run);
    cluster.check(files);
}
