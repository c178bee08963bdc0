//! Places on disk: the cache that `hf-hub` and Python's `huggingface_hub` share, and our own notes beside it.
//!
//! ```text
//! <cache>/datasets--<owner>--<name>/blobs/<sha256>                      the bytes
//! <cache>/datasets--<owner>--<name>/snapshots/<revision>/<path>         a link to them
//! <cache>/.divkd/<owner>--<name>/<revision>/<path>.part                 a download in progress
//! <cache>/.divkd/<owner>--<name>/<revision>/<path>.sha256               the hash first seen, where none is published
//! <cache>/.divkd/<owner>--<name>/<revision>/<path>.claim                taken while a process downloads
//! ```

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use claims::{Attempt, Claim, Claims};

use super::RemoteFile;
use crate::{Error, Result};

/// How long to wait before looking again whether another process is done.
const PAUSE: Duration = Duration::from_millis(200);

/// The paths of one file.
pub(super) struct Place {
    blobs: PathBuf,
    snapshot: PathBuf,
    notes: PathBuf,
    path: String,
}

impl Place {
    /// Fails where repository, revision or path would lead out of the cache.
    pub(super) fn new(cache: &Path, file: &RemoteFile) -> Result<Self> {
        for part in [&file.repo, &file.revision, &file.path] {
            let stays = Path::new(part).components().all(|c| matches!(c, Component::Normal(_)));
            if part.is_empty() || !stays {
                let problem = format!("`{part}` is no path inside a repository");
                return Err(Error::HubSetup { problem });
            }
        }
        let folder = file.repo.replace('/', "--");
        let repository = cache.join(format!("datasets--{folder}"));
        Ok(Self {
            blobs: repository.join("blobs"),
            snapshot: repository.join("snapshots").join(&file.revision).join(&file.path),
            notes: cache.join(".divkd").join(folder).join(&file.revision).join(&file.path),
            path: file.path.clone(),
        })
    }

    /// Where a download in progress is kept.
    pub(super) fn partial(&self) -> PathBuf {
        self.note("part")
    }

    /// Waits until no other process, of this machine or of another one that shares the cache, downloads this file; the
    /// claim gives the turn back when it is dropped. `waits` is told once whom it waits for.
    pub(super) fn turn(&self, waits: impl Fn(&str)) -> Result<Claim> {
        let dir = self.note("claim");
        let mut claims = Claims::default();
        let mut told = false;
        loop {
            match claims.take(&dir)? {
                Attempt::Taken(claim) => return Ok(claim),
                Attempt::Held(holder) => {
                    if !std::mem::replace(&mut told, true) {
                        waits(&holder);
                    }
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Where the hash first seen is noted.
    pub(super) fn hash_note(&self) -> PathBuf {
        self.note("sha256")
    }

    /// The hash that was recorded when this file was first seen.
    pub(super) fn recorded_hash(&self) -> Result<Option<String>> {
        let path = self.hash_note();
        match fs::read_to_string(&path) {
            Ok(line) => Ok(line.split_whitespace().next().map(str::to_owned)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io("read", &path)(e)),
        }
    }

    /// Records a hash, in the format that `sha256sum -c` reads.
    pub(super) fn record_hash(&self, sha256: &str) -> Result<()> {
        let path = self.hash_note();
        create_parent(&path)?;
        let fresh = self.note("sha256.new");
        let line = format!("{sha256}  {}\n", self.path);
        fs::write(&fresh, line).map_err(Error::io("write", &fresh))?;
        fs::rename(&fresh, &path).map_err(Error::io("rename to", &path))
    }

    /// Moves the finished download into the cache and returns its path there.
    pub(super) fn commit(&self, sha256: &str) -> Result<PathBuf> {
        let blob = self.blobs.join(sha256);
        create_parent(&blob)?;
        create_parent(&self.snapshot)?;
        let partial = self.partial();
        fs::rename(&partial, &blob).map_err(Error::io("rename to", &blob))?;
        self.link(&blob)?;
        Ok(self.snapshot.clone())
    }

    /// Links the snapshot to the blob, relative, replacing what was there in one step. A copy where there are no such links.
    fn link(&self, blob: &Path) -> Result<()> {
        let fresh = self.snapshot.with_extension("divkd-new");
        let _ = fs::remove_file(&fresh);
        #[cfg(unix)]
        std::os::unix::fs::symlink(self.relative(blob), &fresh).map_err(Error::io("link", &fresh))?;
        #[cfg(not(unix))]
        fs::copy(blob, &fresh).map(drop).map_err(Error::io("copy to", &fresh))?;
        fs::rename(&fresh, &self.snapshot).map_err(Error::io("rename to", &self.snapshot))
    }

    /// The way from the snapshot's folder to the blob.
    #[cfg(unix)]
    fn relative(&self, blob: &Path) -> PathBuf {
        let repository = self.blobs.parent().unwrap_or(&self.blobs);
        let inside = self.snapshot.strip_prefix(repository).unwrap_or(&self.snapshot);
        let up: PathBuf = inside.components().skip(1).map(|_| "..").collect();
        up.join(blob.strip_prefix(repository).unwrap_or(blob))
    }

    fn note(&self, suffix: &str) -> PathBuf {
        let mut path = self.notes.clone().into_os_string();
        path.push(".");
        path.push(suffix);
        path.into()
    }
}

/// Creates the folder that `path` lies in.
pub(super) fn create_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(Error::io("create folder", parent))
}

/// The hash that the cache itself has for a file: blobs of large files are named by their SHA-256.
pub(super) fn hash_in_name(snapshot: &Path) -> Option<String> {
    let blob = fs::canonicalize(snapshot).ok()?;
    let name = blob.file_name()?.to_str()?;
    let is_hash = name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hash.then(|| name.to_owned())
}
