//! A plan on N devices: list scheduling.
//!
//! Whenever a device is free it takes, of the runs whose teachers are finished, the one with the longest way to the end:
//! its own time and that of the longest chain of runs that need it. On a graph of unit-speed devices this is at most
//! 2 - 1/N times as long as the best schedule (Graham 1969); where all runs of a kind take equally long, as here, it is
//! close to it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A piece of work for one device.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// How long it takes, not negative.
    pub seconds: f64,
    /// The jobs, by their index, that must be over before: each with a lower index than this one's.
    pub needs: Vec<usize>,
}

/// When a plan's jobs are over.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Seconds until all are over.
    pub makespan: f64,
    /// The jobs that end last: each after one that it needs or whose device it takes, the last one at the end.
    pub chain: Vec<usize>,
}

/// Schedules `jobs` on `devices` (at least one).
pub fn schedule(jobs: &[Job], devices: usize) -> Schedule {
    let ranks = ranks(jobs);
    // The bits of floats that are not negative are ordered as they are.
    let key = |index: usize| (ranks[index].to_bits(), Reverse(index));
    let mut open: Vec<usize> = jobs.iter().map(|job| job.needs.len()).collect();
    let mut followers = vec![Vec::new(); jobs.len()];
    let mut ready = BinaryHeap::new();
    for (index, job) in jobs.iter().enumerate() {
        for need in &job.needs {
            followers[*need].push(index);
        }
        if job.needs.is_empty() {
            ready.push(key(index));
        }
    }
    let mut after: Vec<Option<usize>> = vec![None; jobs.len()];
    let mut running = BinaryHeap::new();
    let (mut free, mut now, mut freed) = (devices.max(1), 0.0_f64, None);
    loop {
        while free > 0
            && let Some((_, Reverse(index))) = ready.pop()
        {
            free -= 1;
            // What ended at this moment made it ready or made room for it.
            after[index] = freed;
            running.push(Reverse(((now + jobs[index].seconds).to_bits(), index)));
        }
        let Some(Reverse((end, index))) = running.pop() else { break };
        (now, freed) = (f64::from_bits(end), Some(index));
        free += 1;
        for follower in &followers[index] {
            open[*follower] -= 1;
            if open[*follower] == 0 {
                ready.push(key(*follower));
            }
        }
    }
    let mut chain: Vec<usize> = std::iter::successors(freed, |index| after[*index]).collect();
    chain.reverse();
    Schedule { makespan: now, chain }
}

/// The longest chain of jobs, first to last: no number of devices is quicker.
pub fn critical_path(jobs: &[Job]) -> Vec<usize> {
    let ranks = ranks(jobs);
    let longest = |of: &mut dyn Iterator<Item = usize>| of.max_by(|a, b| ranks[*a].total_cmp(&ranks[*b]));
    let first = longest(&mut (0..jobs.len()).rev());
    let next = |index: &usize| {
        longest(&mut (index + 1..jobs.len()).rev().filter(|at| jobs[*at].needs.contains(index)))
    };
    std::iter::successors(first, next).collect()
}

/// For each job its own seconds and those of the longest chain that needs it.
fn ranks(jobs: &[Job]) -> Vec<f64> {
    let mut below = vec![0.0_f64; jobs.len()];
    let mut ranks = vec![0.0; jobs.len()];
    for (index, job) in jobs.iter().enumerate().rev() {
        ranks[index] = job.seconds + below[index];
        for need in &job.needs {
            below[*need] = below[*need].max(ranks[index]);
        }
    }
    ranks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn job(seconds: f64, needs: &[usize]) -> Job {
        Job { seconds, needs: needs.to_vec() }
    }

    /// Two teachers of 3 and 1, a student of 4 that needs both, two of 2 that need none; drawn on paper.
    #[test]
    fn a_plan_worked_out_by_hand() {
        let jobs = [job(3., &[]), job(1., &[]), job(4., &[0, 1]), job(2., &[]), job(2., &[])];
        assert_eq!(critical_path(&jobs), [0, 2]);
        let on = |devices| schedule(&jobs, devices);
        assert_eq!(on(1).makespan, 12.0);
        // One device: 0, 2. The other: 1, 3, 4.
        assert_eq!(on(2), Schedule { makespan: 7.0, chain: vec![0, 2] });
        assert_eq!(on(9), Schedule { makespan: 7.0, chain: vec![0, 2] });
        assert_eq!(schedule(&[], 3), Schedule { makespan: 0.0, chain: vec![] });
    }

    fn jobs() -> impl Strategy<Value = Vec<Job>> {
        proptest::collection::vec((0u32..50, proptest::collection::vec(0usize..1000, 0..4)), 1..30).prop_map(
            |all| {
                let job = |(index, (seconds, needs)): (usize, (u32, Vec<usize>))| {
                    let mut needs: Vec<usize> =
                        needs.into_iter().filter(|_| index > 0).map(|n| n % index.max(1)).collect();
                    needs.sort_unstable();
                    needs.dedup();
                    Job { seconds: f64::from(seconds), needs }
                };
                all.into_iter().enumerate().map(job).collect()
            },
        )
    }

    proptest! {
        /// Graham's bounds: never below the critical path or an even share of the work, never above their sum.
        #[test]
        fn no_schedule_is_too_good_or_too_bad(jobs in jobs(), devices in 1usize..9) {
            let path: f64 = critical_path(&jobs).iter().map(|index| jobs[*index].seconds).sum();
            let work: f64 = jobs.iter().map(|job| job.seconds).sum();
            let share = work / devices as f64;
            let Schedule { makespan, chain } = schedule(&jobs, devices);
            prop_assert!(makespan >= path.max(share) - 1e-9, "{makespan} {path} {share}");
            prop_assert!(makespan <= share + path + 1e-9, "{makespan} {path} {share}");
            // The chain that ends last has no gaps.
            prop_assert_eq!(chain.iter().map(|index| jobs[*index].seconds).sum::<f64>(), makespan);
            prop_assert_eq!(schedule(&jobs, jobs.len()).makespan, path);
            prop_assert_eq!(schedule(&jobs, 1).makespan, work);
        }
    }
}
