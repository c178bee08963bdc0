//! Looks at every byte and every row of a data set without training on it: `divkd data verify`.

use std::path::PathBuf;

use crate::catalog::HubFile;
use crate::channels::{Channels, Sums};
use crate::fetch::{Fetched, files, hub_spec, in_folder, remote};
use crate::hub::Hub;
use crate::image_table::{Columns, ImageTable};
use crate::{Error, Id, LoadOptions, Progress, Result, Source};

/// What a file's hash was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashCheck {
    /// Equal to the hash of the hub's file that the protocol lists.
    Published,
    /// Equal to the hash recorded when the file was first fetched; none is published.
    AsFirstSeen,
    /// Seen for the first time and recorded now; none is published.
    FirstSeen,
    /// From a folder, and none is published: recorded with the run, compared with nothing.
    Recorded,
    /// From a folder, and not the hub's file: the same images may lie in another order there.
    Unlike,
}

impl HashCheck {
    /// A phrase for messages and records.
    pub fn phrase(self) -> &'static str {
        match self {
            HashCheck::Published => "equal to the published hash",
            HashCheck::AsFirstSeen => "equal to the hash recorded at first fetch (none is published)",
            HashCheck::FirstSeen => "recorded at this first fetch (none is published)",
            HashCheck::Recorded => "recorded, not compared (a data folder; none is published)",
            HashCheck::Unlike => {
                "recorded, unlike the hub's (a data folder): rows may lie in another order, so that subsets and \
                 validation split may differ"
            }
        }
    }
}

/// What was found in one file.
#[derive(Debug)]
pub struct FileReport {
    /// Path in the hub's layout.
    pub file: String,
    /// Where it lies, if it is there.
    pub path: Option<PathBuf>,
    /// Its SHA-256; empty where it could not be read or is not the right one.
    pub sha256: String,
    /// What the hash was compared with.
    pub check: Option<HashCheck>,
    /// Rows that were read.
    pub rows: usize,
    /// Rows of the full protocol.
    pub expected_rows: usize,
    /// Mean and deviation of its images' channels; none where they could not be read.
    pub channels: Option<Channels>,
    /// The first thing that is wrong with the file.
    pub problem: Option<Error>,
}

impl FileReport {
    /// Whether it has as many rows as the full protocol: reduced presets make do with fewer.
    pub fn is_full(&self) -> bool {
        self.rows == self.expected_rows
    }
}

/// How a file of the data set is found.
type Find<'a> = Box<dyn Fn(&HubFile) -> Result<Fetched> + 'a>;

/// Reads both files of a data set whole: hash, schema, labels, every image. Where the training file has all rows of the protocol,
/// its images' channels must have the mean and deviation of the catalog. Downloads nothing: a file that is not on this machine is a
/// problem of its report.
///
/// # Errors
/// Only where there is nothing to look at: synthetic data, or a cache that cannot be opened.
pub fn verify(id: Id, source: &Source, options: &LoadOptions) -> Result<Vec<FileReport>> {
    let spec = hub_spec(id)?;
    let find: Find<'_> = match source {
        Source::Hub => {
            let hub = Hub::new(&options.hub, None)?;
            Box::new(move |file| {
                let file = remote(spec, file);
                hub.cached(&file)?.ok_or_else(|| hub.not_cached(&file))
            })
        }
        Source::Folder(folder) => Box::new(move |file| in_folder(folder, spec, file)),
        Source::Synthetic(_) => {
            let problem = "the synthetic source has no files; verify the hub's cache or a folder".to_owned();
            return Err(Error::Request { dataset: id, problem });
        }
    };
    let rows = id.spec().rows;
    let mut reports: Vec<FileReport> = files(spec)
        .zip([rows.train + rows.val, rows.test])
        .map(|(file, expected_rows)| look(id, file, expected_rows, find(file), options))
        .collect();
    let expected = id.spec().channels();
    if let [train, _] = &mut reports[..]
        && let (true, Some(path), Some(found)) = (train.is_full(), &train.path, train.channels)
        && !found.is_near(&expected)
    {
        let (path, found, expected) = (path.clone(), Box::new(found), Box::new(expected));
        train.problem.get_or_insert(Error::Statistics { dataset: id, path, found, expected });
    }
    if let [train, test] = &mut reports[..]
        && let (Some(first), Some(second)) = (&train.path, &test.path)
        && !train.sha256.is_empty()
        && train.sha256 == test.sha256
    {
        let (first, second, sha256) = (first.clone(), second.clone(), test.sha256.clone());
        test.problem.get_or_insert(Error::SameFile { first, second, sha256 });
    }
    Ok(reports)
}

fn look(
    id: Id,
    file: &HubFile,
    expected_rows: usize,
    located: Result<Fetched>,
    options: &LoadOptions,
) -> FileReport {
    let mut report = FileReport {
        file: file.path.to_owned(),
        path: None,
        sha256: String::new(),
        check: None,
        rows: 0,
        expected_rows,
        channels: None,
        problem: None,
    };
    let looked = located.and_then(|found| {
        report.path = Some(found.path.clone());
        report.sha256 = found.sha256;
        report.check = Some(found.check);
        let table = ImageTable::open(&found.path, columns(id)?)?;
        report.rows = table.labels().len();
        report.channels = decode_all(&table, id.spec().image, file.path, options)?;
        Ok(())
    });
    report.problem = looked.err();
    report
}

/// Decodes every image, a slice of the rows at a time so that a large file needs little memory.
fn decode_all(
    table: &ImageTable,
    size: usize,
    file: &str,
    options: &LoadOptions,
) -> Result<Option<Channels>> {
    const SLICE: usize = 10_000;
    let total = table.labels().len();
    let mut sums = Sums::default();
    for start in (0..total).step_by(SLICE) {
        let rows: Vec<usize> = (start..total.min(start + SLICE)).collect();
        sums.add(&table.images(&rows, size, 1, &|_| {})?, size);
        if let Some(progress) = &options.progress {
            progress.report(&Progress::Decode { file, done: start + rows.len(), total });
        }
    }
    Ok(sums.channels())
}

/// The columns a data set's files are opened with.
pub(crate) fn columns(id: Id) -> Result<Columns<'static>> {
    let hub = hub_spec(id)?;
    Ok(Columns { image: hub.image_column, label: hub.label_column, classes: id.spec().classes })
}
