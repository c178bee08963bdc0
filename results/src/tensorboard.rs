//! The logs and scores of records as TensorBoard event files.
//!
//! A run is a folder `<experiment>-<preset>/<row>/seed-<n>` with one file. Its scalars, by epoch: `train/loss`, `train/ce`,
//! `train/kd`, `train/accuracy`, `train/learning_rate`, `train/images_per_s`, `validation/accuracy`, `validation/nll`, where
//! the log has them; at the last epoch the columns of the table as `test/<column>`. The ensembles DE-1, DE-2, .. of a seed
//! are one run `de/seed-<n>`, whose steps are their numbers of teachers. Times count from 0 by the stored wall times,
//! without those by epochs, so that equal records give equal files.

mod event;
mod frame;

use std::path::PathBuf;

use event::Event;

use crate::figure::{Run, Sources};
use crate::report::ReportFile;
use crate::table::Row;
use crate::{Column, rows};

/// TensorBoard knows a file by the third part of its name; the time that usually follows is left at zero.
const FILE: &str = "events.out.tfevents.0000000000.divkd";

/// One event file for each record, and one for each seed's ensembles.
pub fn files(sources: &Sources) -> Vec<ReportFile> {
    let file = |row: &str, seed: u64, events: &[Event]| ReportFile {
        path: [&sources.experiment.folder, row, &format!("seed-{seed}"), FILE].iter().collect::<PathBuf>(),
        bytes: frame::file(events),
    };
    let rows = &sources.experiment.rows;
    let runs = sources.runs.iter().map(|run| {
        let row = rows.iter().find(|row| row.name == run.info.row);
        file(&run.info.row, run.info.seed, &epochs(run, row))
    });
    let seeds = sources.experiment.teachers.iter().filter(|(_, teachers)| **teachers > 0);
    let ensembles = seeds.map(|(seed, _)| {
        let scored = rows.iter().filter_map(|row| {
            let n = rows::ensemble_index(&row.name)?;
            Some(scores(row, *seed, n as i64, n as f64))
        });
        let mut events = vec![Event::version()];
        events.extend(scored.flatten());
        file("de", *seed, &events)
    });
    runs.chain(ensembles).collect()
}

/// The events of a record: its epochs, then its scores where the table has its row.
fn epochs(run: &Run, row: Option<&Row>) -> Vec<Event> {
    let mut events = vec![Event::version()];
    let mut time = 0.0;
    for (at, epoch) in run.epochs.iter().enumerate() {
        let timing = run.timings.get(at);
        time += timing.map_or(1.0, |timing| timing.seconds);
        let values = [
            ("train/loss", Some(epoch.loss)),
            ("train/ce", epoch.ce),
            ("train/kd", epoch.kd),
            ("train/accuracy", Some(epoch.train_acc)),
            ("train/learning_rate", Some(epoch.lr)),
            ("train/images_per_s", timing.map(|timing| timing.images_per_s)),
            ("validation/accuracy", epoch.val_acc),
            ("validation/nll", epoch.val_nll),
        ];
        for (tag, value) in values {
            events.extend(value.map(|value| Event::scalar(time, i64::from(epoch.epoch), tag, value)));
        }
    }
    let last = run.epochs.last().map_or(0, |epoch| i64::from(epoch.epoch));
    events.extend(row.into_iter().flat_map(|row| scores(row, run.info.seed, last, time)));
    events
}

/// The columns of a row on one seed.
fn scores(row: &Row, seed: u64, step: i64, time: f64) -> Vec<Event> {
    let score = |column: Column| {
        let value = *row.values(column).get(&seed)?;
        Some(Event::scalar(time, step, &format!("test/{}", column.name()), value))
    };
    Column::ALL.into_iter().filter_map(score).collect()
}
