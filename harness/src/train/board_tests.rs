use anyhow::anyhow;

use super::super::room::Most;
use super::*;

/// Two teachers and a student that needs them.
fn plan(folder: &std::path::Path) -> Plan {
    let run = |row: &str, needs: &[usize]| {
        let needs = needs.iter().map(|j| Row::Teacher(*j)).collect();
        Run { row: Row::from(row), seed: 1, needs, finished: false }
    };
    let runs = vec![run("teacher-1", &[]), run("teacher-2", &[]), run("kd", &[1, 2])];
    Plan { folder: folder.to_owned(), runs }
}

fn finish(plan: &Plan, task: &Task<'_>) -> anyhow::Result<()> {
    Ok(std::fs::create_dir_all(crate::plan::run_dir(&plan.folder, &task.run.row, 1))?)
}

/// What cudarc says where an allocation fails.
fn out_of_memory() -> anyhow::Error {
    anyhow!("CUDA, allocating 512 MiB: DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")")
}

#[test]
fn a_run_that_runs_out_of_memory_beside_another_is_tried_again_alone() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path());
    let devices = ["cuda:0".to_owned()];
    let board = Board::new(&plan, &devices, Room::new(1, Most { runs: 2, teachers: 2 }), |_| Ok(()));
    let look = || board.look(&mut board.lock(), 0).unwrap();
    let (first, second) = (look().unwrap(), look().unwrap());
    assert!(look().is_none(), "the student has no teachers yet");
    assert_eq!(
        (first.label.as_str(), second.label.as_str()),
        ("[1/3] teacher-1/seed-1", "[2/3] teacher-2/seed-1")
    );

    board.ended(0, first, Err(out_of_memory())).unwrap();
    assert!(look().is_none(), "the other one still has the device");
    let done = finish(&plan, &second);
    board.ended(0, second, done).unwrap();
    let again = look().unwrap();
    assert_eq!(again.label, "[1/3] teacher-1/seed-1");
    let done = finish(&plan, &again);
    board.ended(0, again, done).unwrap();

    // Alone, what is missing is missing.
    let student = look().unwrap();
    let error = board.ended(0, student, Err(out_of_memory())).unwrap_err();
    assert!(error.to_string().contains("allocating 512 MiB"));
    board.end(error);
    board.end(anyhow!("a later one"));
    assert!(board.next(0).unwrap().is_none());
    assert!(board.result().unwrap_err().to_string().contains("allocating 512 MiB"));
}

/// Where no other run shares the device, a smaller number of runs would not help.
#[test]
fn a_run_alone_on_its_device_lacks_its_own_memory() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path());
    let devices = ["cuda:0".to_owned(), "cuda:1".to_owned()];
    let board = Board::new(&plan, &devices, Room::new(2, Most { runs: 2, teachers: 2 }), |_| Ok(()));
    let look = |device| board.look(&mut board.lock(), device).unwrap();
    let first = look(0).unwrap();
    assert!(look(0).is_none(), "the other device has nothing to do");
    assert!(look(1).is_some());
    assert!(board.ended(0, first, Err(out_of_memory())).is_err());
}

/// A signal stops two workers, one of which cannot write its checkpoint: that is what ends the plan, whoever is first.
#[test]
fn an_error_counts_more_than_an_interruption() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path());
    let devices = ["cpu".to_owned()];
    let interrupted = || anyhow::Error::new(Interrupted::by_sigterm());
    let full = || anyhow!("no space left on device");
    for errors in [[interrupted(), full(), interrupted()], [full(), interrupted(), anyhow!("a later one")]] {
        let board = Board::new(&plan, &devices, Room::new(1, Most { runs: 2, teachers: 2 }), |_| Ok(()));
        errors.into_iter().for_each(|error| board.end(error));
        assert_eq!(board.result().unwrap_err().to_string(), "no space left on device");
    }
}
