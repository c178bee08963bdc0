//! The graph of runs.

use std::path::Path;

use harness::config::{self, Override};
use harness::experiments::Experiment;
use harness::plan::{Plan, run_dir};

fn plan(out: &Path, set: &[&str]) -> Plan {
    let overrides: Vec<Override> = set.iter().map(|text| Override::set(text).unwrap()).collect();
    let experiment = Experiment::find("quick").unwrap();
    Plan::new(&config::resolve(&experiment, Some("smoke"), &overrides).unwrap(), out).unwrap()
}

fn names(plan: &Plan) -> Vec<String> {
    plan.runs.iter().map(|run| format!("{}/{}", run.row, run.seed)).collect()
}

#[test]
fn teachers_come_once_a_seed_and_before_their_students() {
    let plan = plan(
        Path::new("nowhere"),
        &["seeds=2", "members=2", "teachers=3", "methods=[\"teacher\", \"be\", \"be-kd\"]"],
    );
    assert_eq!(
        names(&plan),
        [
            "teacher-1/1",
            "teacher-2/1",
            "teacher-3/1",
            "be/1",
            "be-kd/1",
            "teacher-1/2",
            "teacher-2/2",
            "teacher-3/2",
            "be/2",
            "be-kd/2",
        ]
    );
    let needs: Vec<Vec<String>> =
        plan.runs[..5].iter().map(|run| run.needs.iter().map(ToString::to_string).collect()).collect();
    let two = vec!["teacher-1".to_owned(), "teacher-2".to_owned()];
    assert_eq!(needs, [vec![], vec![], vec![], vec![], two]);
}

#[test]
fn a_method_without_teachers_trains_alone() {
    assert_eq!(names(&plan(Path::new("nowhere"), &["methods=[\"be\"]"])), ["be/1"]);
    assert_eq!(names(&plan(Path::new("nowhere"), &["methods=[\"kd\"]"])).len(), 5);
}

#[test]
fn a_run_with_a_folder_is_finished_and_a_temporary_one_is_not() {
    let out = tempfile::tempdir().unwrap();
    let first = plan(out.path(), &[]);
    // Four teachers, and every other method.
    let all = 4 + methods::registry().len() - 1;
    assert_eq!(first.missing().count(), all);
    std::fs::create_dir_all(run_dir(&first.folder, &first.runs[0].row, 1)).unwrap();
    std::fs::create_dir_all(first.folder.join("kd/.tmp-seed-1")).unwrap();
    let second = plan(out.path(), &[]);
    assert_eq!(second.missing().count(), all - 1);
    assert!(second.runs[0].finished);
}
