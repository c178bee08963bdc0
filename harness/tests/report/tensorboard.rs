//! The event files read back by TensorBoard's own package.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use results::Column;
use results::record::{EpochRow, LogRow, METRICS};
use results::table::Table;

use crate::require::available;
use crate::{records, report};

/// Prints the scalars of a run as JSON: tag to (step, value) pairs.
const READ: &str = "
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator(sys.argv[1], size_guidance={'scalars': 0})
events.Reload()
print(json.dumps({tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in events.Tags()['scalars']}))
";

/// The Python that has the package: `DIVKD_PYTHON`, or `python3`.
fn python() -> String {
    std::env::var("DIVKD_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

fn has_package() -> Result<(), String> {
    let found = Command::new(python()).args(["-c", "import tensorboard"]).output();
    match found {
        Ok(output) if output.status.success() => Ok(()),
        Ok(_) => Err(format!("{} has no package tensorboard", python())),
        Err(error) => Err(format!("{} cannot be started: {error}", python())),
    }
}

fn read(run: &Path) -> BTreeMap<String, Vec<(i64, f64)>> {
    let output = Command::new(python()).arg("-c").arg(READ).arg(run).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn tensorboard_reads_what_the_records_have() {
    if available("tensorboard", has_package()).is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let events = folder.path().join("events");
    report(&["-o", page.to_str().unwrap(), "--tensorboard", events.to_str().unwrap()]);
    let run = |row: &str| events.join("cifar10-laptop").join(row).join("seed-2");
    let close = |found: f64, expected: f64| {
        assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found}, expected {expected}");
    };

    let student = read(&run("be-kd"));
    let log = EpochRow::read_all(&records().join("be-kd/seed-2").join(METRICS)).unwrap();
    let column = |value: fn(&EpochRow) -> Option<f64>| {
        log.iter().filter_map(|row| Some((i64::from(row.epoch), value(row)?))).collect::<Vec<_>>()
    };
    for (tag, expected) in [
        ("train/loss", column(|row| Some(row.loss))),
        ("train/kd", column(|row| row.kd)),
        ("train/accuracy", column(|row| Some(row.train_acc))),
        ("validation/nll", column(|row| row.val_nll)),
    ] {
        let found = &student[tag];
        assert_eq!(found.len(), expected.len(), "{tag}");
        assert!(!expected.is_empty(), "{tag}");
        for ((step, value), (epoch, expected)) in found.iter().zip(&expected) {
            assert_eq!(step, epoch, "{tag}");
            close(*value, *expected);
        }
    }

    let table = Table::build(&records()).unwrap();
    let cnll = |row: &str| {
        let row = table.experiments[0].rows.iter().find(|own| own.name == row).unwrap();
        row.values(Column::Cnll)[&2]
    };
    let [(step, value)] = student["test/cnll"][..] else { panic!("{student:?}") };
    assert_eq!(step, log.len() as i64);
    close(value, cnll("be-kd"));
    // The ensembles by their number of teachers.
    let ensembles = read(&run("de"));
    assert_eq!(ensembles["test/cnll"].len(), 4);
    for (n, value) in &ensembles["test/cnll"] {
        close(*value, cnll(&format!("de-{n}")));
    }
}
