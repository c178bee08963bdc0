//! SIGKILL at any moment.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use random::Stream;

use crate::support::{leftovers, results, run, start, until};

const KILLS: usize = 50;

/// A smoke reproduction is killed again and again until it is finished; then the next. Each must have left the undisturbed
/// one's bytes. Moments are drawn uniformly: one in five over the time that an undisturbed one takes, its start included,
/// the others over as long after the first sign of training. A busy machine makes that time long: it is cut at two seconds.
#[test]
fn fifty_kills_make_no_difference() {
    let whole = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    run(whole.path(), &[], 0);
    let window = begun.elapsed().min(Duration::from_secs(2));
    let expected = results(whole.path());
    assert!(!expected.is_empty());

    let mut moments = Stream::new(8, "kills").draws(0, 0);
    let (mut kills, mut compared, mut resumed) = (0, 0, Vec::new());
    while kills < KILLS {
        let folder = tempfile::tempdir().unwrap();
        let err = || fs::read_to_string(folder.path().join("err")).unwrap();
        loop {
            let mut child = start(folder.path(), &[], "err");
            let mut is_over = || child.try_wait().unwrap().is_some();
            if kills < KILLS && moments.below(5) > 0 {
                until("training begins", || {
                    is_over() || err().contains("  epoch ") || err().contains("resumed ")
                });
            }
            let end = Instant::now() + window.mul_f64(f64::from(moments.uniform()));
            while kills < KILLS && Instant::now() < end && !is_over() {
                std::thread::sleep(Duration::from_millis(2));
            }
            let is_killed = kills < KILLS && child.try_wait().unwrap().is_none();
            if is_killed {
                child.kill().unwrap();
                kills += 1;
            }
            let status = child.wait().unwrap();
            let err = err();
            resumed.extend(err.lines().filter(|line| line.starts_with("resumed ")).map(str::to_owned));
            if status.success() {
                break;
            }
            assert!(is_killed, "{err}");
        }
        assert!(results(folder.path()) == expected, "after {kills} kills");
        assert_eq!(leftovers(folder.path()), Vec::<PathBuf>::new());
        compared += 1;
    }
    println!(
        "{kills} kills, {compared} reproductions compared, {} runs resumed in their middle",
        resumed.len()
    );
    assert!(!resumed.is_empty());
    for line in resumed {
        let line = line.strip_prefix("resumed ").unwrap();
        if let Some(run) = line.strip_suffix(" after its last epoch") {
            assert!(run.ends_with("/seed-1"), "{line}");
            continue;
        }
        let (run, epoch) = line.split_once(" at epoch ").unwrap();
        assert!(run.ends_with("/seed-1") && (1..=3).contains(&epoch.parse::<u32>().unwrap()), "{line}");
    }
}
