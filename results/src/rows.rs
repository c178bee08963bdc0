//! The names of rows in commands, folders and tables, and the order they are shown in.

/// The students of the paper, in the order of its tables: every preset has these rows.
pub const STUDENTS: [&str; 6] = ["kd", "be", "be-kd", "be-kd-gaussian", "be-kd-ods", "be-kd-conf-ods"];

/// The order in which tables and figures show students. It may name others between the paper's: a student that is not here
/// comes after all of them.
pub const ORDER: &[&str] = &STUDENTS;

/// The row of the n-th teacher of a seed, `teacher-<n>`, n from 1: each teacher is a run of its own.
pub fn teacher(n: usize) -> String {
    format!("teacher-{n}")
}

/// The row of the ensemble of teachers 1..n, `de-<n>`: computed from the teachers' predictions, it has no folder.
pub fn ensemble(n: usize) -> String {
    format!("de-{n}")
}

/// n where `row` is `teacher-<n>` in its one spelling, n from 1.
pub fn teacher_index(row: &str) -> Option<usize> {
    index_after("teacher-", row)
}

/// n where `row` is `de-<n>` in its one spelling, n from 1.
pub fn ensemble_index(row: &str) -> Option<usize> {
    index_after("de-", row)
}

/// Sorts rows as tables show them: teachers and ensembles by number, the students of [`ORDER`], then any others by name.
pub fn order(row: &str) -> impl Ord + use<> {
    let known = ORDER.iter().position(|student| *student == row);
    match (teacher_index(row).or_else(|| ensemble_index(row)), known) {
        (Some(n), _) => (0, n, String::new()),
        (None, Some(at)) => (1, at, String::new()),
        (None, None) => (2, 0, row.to_owned()),
    }
}

fn index_after(prefix: &str, row: &str) -> Option<usize> {
    let digits = row.strip_prefix(prefix)?;
    digits.parse().ok().filter(|n: &usize| *n >= 1 && n.to_string() == digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_sort_as_in_the_paper() {
        let mut rows =
            vec!["zoo", "be-kd-ods", "de-10", "ant", "kd", "de-2", "be", "be-kd-conf-ods", "be-kd"];
        rows.sort_by_key(|row| order(row));
        assert_eq!(rows, ["de-2", "de-10", "kd", "be", "be-kd", "be-kd-ods", "be-kd-conf-ods", "ant", "zoo"]);
    }

    #[test]
    fn the_order_has_the_papers_students_in_theirs() {
        let papers: Vec<&str> = ORDER.iter().copied().filter(|row| STUDENTS.contains(row)).collect();
        assert_eq!(papers, STUDENTS);
    }

    #[test]
    fn teachers_are_numbered_in_one_spelling() {
        assert_eq!(teacher_index(&teacher(12)), Some(12));
        for other in ["teacher-0", "teacher-01", "teacher-", "teacher-+1", "teacher", "de-1", "teacher-1x"] {
            assert_eq!(teacher_index(other), None, "{other}");
        }
    }
}
