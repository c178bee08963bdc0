//! The files of a data set on this machine, from the hub or a folder, with their hashes.

use std::path::{Path, PathBuf};

use crate::catalog::{HubFile, HubSpec, SplitRows};
use crate::hub::{Hub, RemoteFile};
use crate::image_table::ImageTable;
use crate::load::require_rows;
use crate::split::val_rows;
use crate::verify::{HashCheck, columns};
use crate::{Error, Id, LoadOptions, Result, Source, hash};

/// A file that is on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// Path in the repository.
    pub file: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: String,
    /// What the hash was compared with.
    pub check: HashCheck,
    /// Whether it came from the server just now, not from the cache or a folder.
    pub downloaded: bool,
}

/// Makes sure that the files of a data set are in the hub's cache: training file, then test file.
///
/// # Errors
/// [`Error::Request`] for data that no server has; [`Error::Hub`], [`Error::Offline`], [`Error::Mismatch`], file errors.
pub fn fetch(id: Id, options: &LoadOptions) -> Result<Vec<Fetched>> {
    let spec = hub_spec(id)?;
    let hub = Hub::new(&options.hub, options.progress.clone())?;
    files(spec).map(|file| hub.file(&remote(spec, file))).collect()
}

/// Training and test file of a data set from `source`; they must not be the same file.
pub(crate) fn locate(id: Id, source: &Source, options: &LoadOptions) -> Result<Vec<Fetched>> {
    let spec = hub_spec(id)?;
    let found = match source {
        Source::Hub => fetch(id, options)?,
        Source::Folder(folder) => {
            files(spec).map(|file| in_folder(folder, spec, file)).collect::<Result<_>>()?
        }
        Source::Synthetic(_) => {
            let problem = "it is read from files; the synthetic source makes only `synthetic`".to_owned();
            return Err(Error::Request { dataset: id, problem });
        }
    };
    if let [train, test] = &found[..]
        && train.sha256 == test.sha256
    {
        return Err(Error::SameFile {
            first: train.path.clone(),
            second: test.path.clone(),
            sha256: train.sha256.clone(),
        });
    }
    Ok(found)
}

/// Whether the files of a data set are there, and whole with `require_full`, where `source` is a folder: what can be told at
/// once. How many rows each split can have of them; `None` where `source` is no folder.
///
/// # Errors
/// [`Error::MissingFile`]; a file that cannot be read; [`Error::Partial`].
pub fn look(id: Id, source: &Source, require_full: bool) -> Result<Option<SplitRows>> {
    let Source::Folder(folder) = source else { return Ok(None) };
    let spec = hub_spec(id)?;
    let paths = files(spec).map(|file| Ok(place(folder, spec, file)?.0)).collect::<Result<Vec<PathBuf>>>()?;
    let [train, test] = &paths[..] else { return Ok(None) };
    let columns = columns(id)?;
    let (train, test) = (ImageTable::open(train, columns)?, ImageTable::open(test, columns)?);
    if require_full {
        require_rows(id, &train, &test)?;
    }
    let val = val_rows(train.labels().len(), id.spec().rows);
    Ok(Some(SplitRows { train: train.labels().len() - val, val, test: test.labels().len() }))
}

/// Where a file of a data folder lies, and its length.
fn place(folder: &Path, spec: &HubSpec, file: &HubFile) -> Result<(PathBuf, u64)> {
    let path = folder.join(spec.repo).join(file.path);
    match std::fs::metadata(&path) {
        Ok(metadata) => Ok((path, metadata.len())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::MissingFile { path, repo: spec.repo.to_owned(), file: file.path.to_owned() })
        }
        Err(e) => Err(Error::io("open", &path)(e)),
    }
}

/// A file of a data folder.
pub(crate) fn in_folder(folder: &Path, spec: &HubSpec, file: &HubFile) -> Result<Fetched> {
    let (path, bytes) = place(folder, spec, file)?;
    let sha256 = hash::of_file(&path)?;
    let check = match file.sha256 {
        None => HashCheck::Recorded,
        Some(published) if published == sha256 => HashCheck::Published,
        Some(_) => HashCheck::Unlike,
    };
    Ok(Fetched { file: file.path.to_owned(), path, bytes, sha256, check, downloaded: false })
}

/// Where a data set lives on the hub, or the error that it lives on none.
pub(crate) fn hub_spec(id: Id) -> Result<&'static HubSpec> {
    id.spec().hub.as_ref().ok_or_else(|| {
        let problem =
            "it is made by our own code from a seed: no file, nothing to fetch or verify".to_owned();
        Error::Request { dataset: id, problem }
    })
}

/// Training file, then test file.
pub(crate) fn files(spec: &HubSpec) -> impl Iterator<Item = &HubFile> {
    [&spec.train, &spec.test].into_iter()
}

/// What to ask the hub for.
pub(crate) fn remote(spec: &HubSpec, file: &HubFile) -> RemoteFile {
    RemoteFile {
        repo: spec.repo.to_owned(),
        revision: spec.revision.to_owned(),
        path: file.path.to_owned(),
        bytes: file.bytes,
        sha256: file.sha256.map(str::to_owned),
    }
}
