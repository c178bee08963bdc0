//! From a data set's name to its three splits in memory.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::dataset::{Dataset, Provenance, Splits};
use crate::fetch::{Fetched, hub_spec, locate};
use crate::image_table::ImageTable;
use crate::split::{Rule, balanced_subset, train_val};
use crate::verify::{HashCheck, columns};
use crate::{Error, Id, LoadOptions, Progress, Result, Source, synthetic};

/// Loads a data set: finds (or fetches) and checks its files, splits, reduces and decodes them.
///
/// # Errors
/// Names file, row group and row where a file is at fault, and says what to do; see [`Error`].
pub fn load(id: Id, source: &Source, options: &LoadOptions) -> Result<Splits> {
    check_rows(id, options)?;
    if id == Id::Synthetic {
        return match source {
            Source::Synthetic(seed) => synthetic::splits(*seed, options),
            Source::Hub | Source::Folder(_) => {
                let problem = "it is made from a seed: no hub or folder has it".to_owned();
                Err(Error::Request { dataset: id, problem })
            }
        };
    }
    let factor = pooling(id, options.image)?;
    let spec = id.spec();
    let files = locate(id, source, options)?;
    if let Some(progress) = &options.progress {
        let unlike = files.iter().filter(|file| file.check == HashCheck::Unlike);
        let unlike: Vec<String> = unlike.map(|file| file.path.display().to_string()).collect();
        if !unlike.is_empty() {
            let text = format!("{}: sha256 {}", unlike.join(", "), HashCheck::Unlike.phrase());
            progress.report(&Progress::Note(&text));
        }
    }
    let [train_file, test_file] = &files[..] else {
        let problem = format!("{} files instead of two", files.len());
        return Err(Error::Request { dataset: id, problem });
    };
    let train_table = ImageTable::open(&train_file.path, columns(id)?)?;
    let test_table = ImageTable::open(&test_file.path, columns(id)?)?;
    if options.require_full {
        require_rows(id, &train_table, &test_table)?;
    }
    let split = train_val(train_table.labels(), spec.classes, spec.rows, options.seed);
    let test_rows: Vec<usize> = (0..test_table.labels().len()).collect();
    let there = [split.train.len(), split.val.len(), test_rows.len()];
    let read = |table: &ImageTable, file: &Fetched, rows: Vec<usize>, keep: Option<usize>, name: &str| {
        let rows = reduce(table.labels(), rows, spec.classes, keep, options.seed, name);
        if rows.is_empty() {
            let problem = format!("too few rows for a {name} split in {}", table.path().display());
            return Err(Error::Request { dataset: id, problem });
        }
        read_rows(id, table, file, &rows, factor, options)
    };
    let rule = split.rule;
    let train = read(&train_table, train_file, split.train, options.train_rows, "train")?;
    let val = read(&train_table, train_file, split.val, options.val_rows, "val")?;
    let test = read(&test_table, test_file, test_rows, options.test_rows, "test")?;
    let provenance = Provenance {
        dataset: id,
        source: if *source == Source::Hub { "hub" } else { "folder" }.to_owned(),
        revision: (*source == Source::Hub)
            .then(|| hub_spec(id).map(|h| h.revision.to_owned()))
            .transpose()?,
        sha256: files.iter().map(|file| (file.file.clone(), file.sha256.clone())).collect(),
        note: note(
            &files,
            rule,
            factor,
            train_table.labels().len(),
            [("train", train.len()), ("val", val.len()), ("test", test.len())].into_iter().zip(there),
            options.seed,
        ),
    };
    Ok(Splits { train, val, test, provenance })
}

/// Refuses splits of no rows.
fn check_rows(id: Id, options: &LoadOptions) -> Result<()> {
    let asked = [("train", options.train_rows), ("val", options.val_rows), ("test", options.test_rows)];
    match asked.into_iter().find(|(_, rows)| *rows == Some(0)) {
        None => Ok(()),
        Some((name, _)) => {
            let problem = format!("0 {name} rows asked for; every split needs at least 1");
            Err(Error::Request { dataset: id, problem })
        }
    }
}

/// The factor that averages the data set's images down to `image`.
fn pooling(id: Id, image: Option<usize>) -> Result<usize> {
    let full = id.spec().image;
    let wanted = image.unwrap_or(full);
    if wanted > 0 && full.is_multiple_of(wanted) {
        return Ok(full / wanted);
    }
    let sizes: Vec<String> =
        (1..=full).filter(|&s| s >= 4 && full.is_multiple_of(s)).map(|s| s.to_string()).collect();
    let problem = format!(
        "images of {full} pixels cannot be averaged down to {wanted} by a whole factor; possible: {}",
        sizes.join(", ")
    );
    Err(Error::Request { dataset: id, problem })
}

/// Refuses tables that have not all rows of the data set.
pub(crate) fn require_rows(id: Id, train: &ImageTable, test: &ImageTable) -> Result<()> {
    let rows = id.spec().rows;
    require(id, "the training file", train.labels().len(), rows.train + rows.val)?;
    require(id, "the test file", test.labels().len(), rows.test)
}

fn require(dataset: Id, part: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected { Ok(()) } else { Err(Error::Partial { dataset, part, found, expected }) }
}

/// A class-balanced subset of `rows` of a file with these `labels`.
fn reduce(
    labels: &[u32],
    rows: Vec<usize>,
    classes: usize,
    keep: Option<usize>,
    seed: u64,
    name: &str,
) -> Vec<usize> {
    let Some(keep) = keep else { return rows };
    let own: Vec<u32> = rows.iter().map(|&row| labels[row]).collect();
    balanced_subset(&own, classes, keep, seed, name).into_iter().map(|i| rows[i]).collect()
}

fn read_rows(
    id: Id,
    table: &ImageTable,
    file: &Fetched,
    rows: &[usize],
    factor: usize,
    options: &LoadOptions,
) -> Result<Dataset> {
    let finished = AtomicUsize::new(0);
    let done = |n: usize| {
        let done = finished.fetch_add(n, Ordering::Relaxed) + n;
        if let Some(progress) = &options.progress {
            progress.report(&Progress::Decode { file: &file.file, done, total: rows.len() });
        }
    };
    let spec = id.spec();
    Ok(Dataset {
        images: table.images(rows, spec.image, factor, &done)?,
        labels: rows.iter().map(|&row| table.labels()[row]).collect(),
        classes: spec.classes,
        size: spec.image / factor,
        posterior: None,
    })
}

/// What a record should say about these splits: each with the rows that were kept and those that there were.
fn note<'a>(
    files: &[Fetched],
    rule: Rule,
    factor: usize,
    file_rows: usize,
    splits: impl Iterator<Item = ((&'a str, usize), usize)>,
    seed: u64,
) -> String {
    let checks: BTreeMap<&str, &str> = files.iter().map(|f| (f.check.phrase(), f.file.as_str())).collect();
    let mut sentences = Vec::new();
    match checks.len() {
        1 => sentences.extend(checks.keys().map(|phrase| format!("hashes {phrase}"))),
        _ => sentences.extend(checks.iter().map(|(phrase, file)| format!("hash of {file} {phrase}"))),
    }
    let drawn = format!("class-balanced 90/10 split drawn with seed {seed}");
    sentences.push(match rule {
        Rule::Tail => "validation rows are the tail of the training file".to_owned(),
        Rule::DrawnPartial => format!("{file_rows} rows are not the full protocol's: {drawn}"),
        Rule::DrawnSorted => format!("rows are sorted by class: {drawn}"),
    });
    let reduced: Vec<String> = splits
        .filter(|((_, kept), there)| kept < there)
        .map(|((name, kept), there)| format!("{kept} of {there} {name} rows"))
        .collect();
    if !reduced.is_empty() {
        sentences.push(format!("class-balanced subsets of {} drawn with seed {seed}", reduced.join(", ")));
    }
    if factor > 1 {
        sentences.push(format!("images averaged down by {factor}"));
    }
    sentences.join("; ")
}
