//! Which runs go into which job: for each seed an array of its teachers, one of the students that need them, and one of the
//! students that need none.

use std::fmt;

use crate::plan::{Row, Run};

/// What the runs of an array have in common, apart from their seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Teachers: they need nothing.
    Teachers,
    /// Students that need no teachers: they begin with the teachers, and nobody waits for them.
    Scratch,
    /// Students that need their seed's teachers.
    Students,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Teachers => "teachers",
            Self::Scratch => "scratch",
            Self::Students => "students",
        })
    }
}

/// An array of jobs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    /// The runs' stage.
    pub stage: Stage,
    /// Their seed.
    pub seed: u64,
    /// Counts the arrays of a stage and seed, from 0: an array has a largest size.
    pub part: usize,
    /// The runs of each task, which it trains at the same time.
    pub tasks: Vec<Vec<Run>>,
}

impl Array {
    /// `teachers-seed-1`, or `teachers-seed-1-2` for the part after it.
    pub fn name(&self) -> String {
        let part = if self.part > 0 { format!("-{}", self.part + 1) } else { String::new() };
        format!("{}-seed-{}{part}", self.stage, self.seed)
    }

    /// All its runs.
    pub fn runs(&self) -> impl Iterator<Item = &Run> {
        self.tasks.iter().flatten()
    }
}

/// The arrays of `runs`, `per_task` runs a task and at most `largest` tasks an array, in an order in which each comes after
/// those that it needs.
pub fn arrays(runs: &[&Run], per_task: usize, largest: usize) -> Vec<Array> {
    let stage = |run: &Run| match run.row {
        Row::Teacher(_) => Stage::Teachers,
        Row::Student(_) if run.needs.is_empty() => Stage::Scratch,
        Row::Student(_) => Stage::Students,
    };
    let mut kinds: Vec<(u64, Stage)> = runs.iter().map(|run| (run.seed, stage(run))).collect();
    kinds.sort_unstable();
    kinds.dedup();
    let mut arrays = Vec::new();
    for (seed, kind) in kinds {
        let of_kind: Vec<Run> = runs
            .iter()
            .filter(|run| run.seed == seed && stage(run) == kind)
            .map(|run| (*run).clone())
            .collect();
        let tasks: Vec<Vec<Run>> = of_kind.chunks(per_task.max(1)).map(<[Run]>::to_vec).collect();
        for (part, tasks) in tasks.chunks(largest.max(1)).enumerate() {
            arrays.push(Array { stage: kind, seed, part, tasks: tasks.to_vec() });
        }
    }
    arrays
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(seeds: u64) -> Vec<Run> {
        let mut runs = Vec::new();
        for seed in 1..=seeds {
            let teachers = (1..=3).map(Row::Teacher);
            let rows = teachers.chain(["be", "be-kd", "kd"].map(|name| Row::Student(name.to_owned())));
            for row in rows {
                let needs = match &row {
                    Row::Student(name) if name != "be" => vec![Row::Teacher(1), Row::Teacher(2)],
                    _ => Vec::new(),
                };
                runs.push(Run { row, seed, needs, finished: false });
            }
        }
        runs
    }

    fn shown(arrays: &[Array]) -> Vec<String> {
        let task = |task: &Vec<Run>| task.iter().map(|run| run.row.to_string()).collect::<Vec<_>>().join("+");
        arrays
            .iter()
            .map(|array| {
                format!("{}: {}", array.name(), array.tasks.iter().map(task).collect::<Vec<_>>().join(" "))
            })
            .collect()
    }

    #[test]
    fn a_seed_is_three_arrays() {
        let runs = runs(2);
        let all: Vec<&Run> = runs.iter().collect();
        assert_eq!(
            shown(&arrays(&all, 1, 1001)),
            [
                "teachers-seed-1: teacher-1 teacher-2 teacher-3",
                "scratch-seed-1: be",
                "students-seed-1: be-kd kd",
                "teachers-seed-2: teacher-1 teacher-2 teacher-3",
                "scratch-seed-2: be",
                "students-seed-2: be-kd kd",
            ]
        );
        assert_eq!(
            shown(&arrays(&all[..6], 2, 1)),
            [
                "teachers-seed-1: teacher-1+teacher-2",
                "teachers-seed-1-2: teacher-3",
                "scratch-seed-1: be",
                "students-seed-1: be-kd+kd",
            ]
        );
        assert!(arrays(&[], 1, 1).is_empty());
    }
}
