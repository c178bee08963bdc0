//! The seed of each run, from which all its random streams are keyed.
//!
//! Repetition n has one seed for every student and one for each teacher. Students of a repetition see the images of an epoch
//! in the same order and with the same augmentation, so the same batches where their batch size is the same, and
//! start from the same weights where their networks are of one kind and the method sets none itself; teachers differ in
//! all of this. A run's seed keys its streams "init" (parameters),
//! "shuffle" (order of an epoch), "augment" (crops and flips) and those of its method.

use random::Stream;

use crate::plan::Row;

/// The seed of the run of `row` in repetition `seed`: 64 bits of the stream "student", or of "teacher" at index j.
pub fn run_seed(seed: u64, row: &Row) -> u64 {
    match row {
        Row::Teacher(j) => Stream::new(seed, "teacher").draws(0, *j as u64).next_u64(),
        Row::Student(_) => Stream::new(seed, "student").draws(0, 0).next_u64(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teachers_differ_and_students_share() {
        let student = |name: &str| run_seed(1, &Row::Student(name.to_owned()));
        assert_eq!(student("be"), student("be-kd-ods"));
        let mut seeds: Vec<u64> = (1..=3).map(|j| run_seed(1, &Row::Teacher(j))).collect();
        seeds.extend([
            student("be"),
            run_seed(2, &Row::Teacher(1)),
            run_seed(2, &Row::Student("be".to_owned())),
        ]);
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 6);
    }
}
