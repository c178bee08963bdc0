//! What an epoch of each row took, from the records' `timing.csv`: validation is not counted.

use std::collections::BTreeSet;
use std::path::Path;

use crate::record::{Record, TIMING, TimingRow, scan};
use crate::sheet::Sheet;
use crate::{Result, rows};

/// The columns of the CSV.
pub const CSV_HEADER: &str = "experiment,row,runs,epochs,epoch_seconds,images_per_s,seconds";

/// An experiment's rows, in the tables' order.
struct Experiment {
    folder: String,
    devices: BTreeSet<String>,
    rows: Vec<Measured>,
}

/// The epochs of all runs of one row: a student, or all teachers.
struct Measured {
    row: String,
    runs: usize,
    epochs: Vec<TimingRow>,
}

/// One sheet for each experiment under `root`, a line a row and one for the sum: runs, epochs of all of them, the median
/// epoch's seconds and images a second, and the seconds of all epochs. Records without times are left out.
///
/// # Errors
/// Where a folder or record cannot be read.
pub fn sheets(root: &Path) -> Result<Vec<Sheet>> {
    let mut experiments: Vec<Experiment> = Vec::new();
    // Sorted by experiment and row, teachers first.
    for path in scan(root)?.into_iter().filter(|path| path.dir.join(TIMING).is_file()) {
        let record = Record::open(&path.dir)?;
        if experiments.last().is_none_or(|last| last.folder != path.folder) {
            experiments.push(Experiment { folder: path.folder, devices: BTreeSet::new(), rows: Vec::new() });
        }
        let Some(experiment) = experiments.last_mut() else { continue };
        let info = record.info();
        experiment.devices.insert(format!("{}, {} threads", info.device, info.threads));
        let row = rows::teacher_index(&path.row).map_or(path.row, |_| "teacher".to_owned());
        if experiment.rows.last().is_none_or(|last| last.row != row) {
            experiment.rows.push(Measured { row, runs: 0, epochs: Vec::new() });
        }
        let Some(measured) = experiment.rows.last_mut() else { continue };
        measured.runs += 1;
        measured.epochs.extend(record.timings()?);
    }
    Ok(experiments.into_iter().map(sheet).collect())
}

fn sheet(experiment: Experiment) -> Sheet {
    let Experiment { folder, devices, rows } = experiment;
    let devices: Vec<String> = devices.into_iter().collect();
    let mut sheet = Sheet {
        title: format!("{folder}: epochs on {}", devices.join("; ")),
        labels: 1,
        headings: ["row", "runs", "epochs", "s an epoch", "images/s", "all epochs, s"]
            .map(str::to_owned)
            .to_vec(),
        csv_header: CSV_HEADER,
        ..Sheet::default()
    };
    let (mut runs, mut epochs, mut total) = (0, 0, 0.0);
    for Measured { row, runs: own, epochs: times } in rows {
        let of = |value: fn(&TimingRow) -> f64| times.iter().map(value).collect::<Vec<_>>();
        let (seconds, speed) = (of(|epoch| epoch.seconds), of(|epoch| epoch.images_per_s));
        let sum: f64 = seconds.iter().sum();
        let (middle, speed) = (median(seconds), median(speed));
        let counts = [own.to_string(), times.len().to_string()];
        sheet.lines.push(
            [
                vec![row.clone()],
                counts.to_vec(),
                vec![format!("{middle:.2}"), format!("{speed:.1}"), format!("{sum:.1}")],
            ]
            .concat(),
        );
        let exact = [middle, speed, sum].map(|value| value.to_string());
        sheet.csv.push([vec![folder.clone(), row], counts.to_vec(), exact.to_vec()].concat());
        (runs, epochs, total) = (runs + own, epochs + times.len(), total + sum);
    }
    let (none, total) = (String::new(), format!("{total:.1}"));
    sheet.lines.push(vec!["all".to_owned(), runs.to_string(), epochs.to_string(), none.clone(), none, total]);
    sheet
}

/// The middle value, or the mean of the two in the middle; 0 without any.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |index: usize| values.get(index).copied().unwrap_or(0.0);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { at(middle) } else { (at(middle.saturating_sub(1)) + at(middle)) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_by_hand() {
        assert_eq!(median(vec![3.0, 1.0, 10.0]), 3.0);
        assert_eq!(median(vec![4.0, 1.0, 10.0, 3.0]), 3.5);
        assert_eq!(median(vec![]), 0.0);
    }
}
