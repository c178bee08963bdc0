//! The data of an experiment, with what the user sees while they arrive.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Mutex;

use datasets::{Id, LoadOptions, OnProgress, Progress, Source, Splits};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::{DataConfig, Resolved};
use crate::model;

/// Where a data set comes from: a folder where one is given, else the hub; synthetic images are made from `seed`.
pub fn source(id: Id, data_dir: Option<&Path>, seed: u64) -> Source {
    match (id, data_dir) {
        (Id::Synthetic, _) => Source::Synthetic(seed),
        (_, Some(dir)) => Source::Folder(dir.to_owned()),
        (_, None) => Source::Hub,
    }
}

/// Looks early whether a folder has the data set's files (and all of their rows, where `require_full`), and returns the settings
/// with no more rows than the files hold.
///
/// # Errors
/// The first that is missing, and where it should be; one that is partial where it must not be.
pub fn look(data: &DataConfig, data_dir: Option<&Path>) -> anyhow::Result<DataConfig> {
    let id = model::dataset(&data.dataset)?;
    let mut data = data.clone();
    if let Some(there) = datasets::look(id, &source(id, data_dir, data.seed), data.require_full)? {
        data.train_rows = data.train_rows.min(there.train);
        data.val_rows = data.val_rows.min(there.val);
        data.test_rows = data.test_rows.min(there.test);
    }
    Ok(data)
}

/// An experiment with no more rows than there are: what a plan is to say of it. Its records are of the experiment as it is.
///
/// # Errors
/// As [`look`].
pub fn planned(resolved: &Resolved, data_dir: Option<&Path>) -> anyhow::Result<Resolved> {
    let mut planned = resolved.clone();
    planned.config.data = look(&resolved.config.data, data_dir)?;
    Ok(planned)
}

/// Loads the three splits that the configuration asks for.
///
/// # Errors
/// Missing, damaged or partial data, and what to do about it.
pub fn splits(data: &DataConfig, data_dir: Option<&Path>) -> anyhow::Result<Splits> {
    let id = model::dataset(&data.dataset)?;
    let options = LoadOptions {
        seed: data.seed,
        train_rows: Some(data.train_rows),
        val_rows: Some(data.val_rows),
        test_rows: Some(data.test_rows),
        image: Some(data.image),
        require_full: data.require_full,
        progress: Some(progress()),
        ..LoadOptions::default()
    };
    let splits = datasets::load(id, &source(id, data_dir, data.seed), &options)?;
    let rows = splits.rows();
    for (split, found, wanted) in [
        ("training", rows.train, data.train_rows),
        ("validation", rows.val, data.val_rows),
        ("test", rows.test, data.test_rows),
    ] {
        if found < wanted {
            eprintln!("only {found} {split} images of {wanted} are there: going on with those");
        }
    }
    Ok(splits)
}

/// Shows downloads and decoding on standard error: a bar on a terminal, else a line when a file begins.
pub fn progress() -> OnProgress {
    let terminal = std::io::stderr().is_terminal();
    let current: Mutex<Option<(String, ProgressBar)>> = Mutex::new(None);
    OnProgress::new(move |progress| {
        let (verb, file, done, total) = match *progress {
            Progress::Download { file, done, total } => ("downloading", file, done, total.unwrap_or(0)),
            Progress::Decode { file, done, total } => ("decoding", file, done as u64, total as u64),
            Progress::Note(note) => {
                eprintln!("{note}");
                return;
            }
        };
        let title = format!("{verb} {file}");
        let Ok(mut current) = current.lock() else { return };
        if current.as_ref().is_none_or(|(shown, _)| *shown != title) {
            let bar = if terminal { ProgressBar::new(total) } else { ProgressBar::hidden() };
            if let Ok(style) = ProgressStyle::with_template("{msg} {bar:20} {percent:>3}%  {eta} left") {
                bar.set_style(style);
            }
            bar.set_message(title.clone());
            if !terminal {
                eprintln!("{title}");
            }
            *current = Some((title, bar));
        }
        if let Some((_, bar)) = current.as_ref() {
            bar.set_length(total);
            bar.set_position(done);
            if done == total {
                bar.finish_and_clear();
            }
        }
    })
}
