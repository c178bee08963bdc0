//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use anyhow::Context;

/// Writes a file, flushes it and gives it its name. Folders that are missing are made; a file that is there is replaced.
///
/// # Errors
/// Where it cannot be written.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    make(path, |draft| fill(draft, bytes))
}

/// As [`write()`], by a `draft` of that name in the same folder.
///
/// # Errors
/// Where it cannot be written.
pub fn write_by(draft: &Path, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    make_by(draft, path, |draft| fill(draft, bytes))
}

fn fill(draft: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut file = File::create(draft)?;
    file.write_all(bytes)?;
    Ok(file.sync_all()?)
}

/// Has `work` make a file under a temporary name beside `path`, and gives it its name. As [`write()`], but that flushing is left to
/// `work`.
///
/// # Errors
/// Those of `work`, and where the file cannot have that name.
pub fn make(path: &Path, work: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let name = path.file_name().with_context(|| format!("{} is not the name of a file", path.display()))?;
    make_by(&path.with_file_name(format!(".tmp-{}", name.to_string_lossy())), path, work)
}

fn make_by(draft: &Path, path: &Path, work: impl FnOnce(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)
        .map_err(anyhow::Error::from)
        .and_then(|()| work(draft))
        .and_then(|()| Ok(fs::rename(draft, path)?))
        .inspect_err(|_| {
            // On a full disk half a file only takes space.
            let _ = fs::remove_file(draft);
        })
        .with_context(|| format!("cannot write {}", path.display()))
}
