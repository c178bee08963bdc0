//! Packing: the most important files first, for as long as there is room.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};

use super::find::{self, Group};
use super::slot::Slot;
use super::{
    Entry, FORMAT, INDEX, Index, LARGEST, LARGEST_IN_ALL, LeftOut, Limits, Part, part_name, rank, sha256,
};
use crate::train::checkpoint;
use crate::whole_file;

/// Compression: most of what a higher level gains on floating-point numbers, at a tenth of its time.
const LEVEL: i32 = 3;

/// What was packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    /// Files of the folder of records.
    pub files: usize,
    /// Files that hold them, with the index.
    pub parts: usize,
    /// Their size.
    pub bytes: u64,
    /// What did not fit, the most important first.
    pub left_out: Vec<LeftOut>,
}

/// Packs what is under `runs` into the folder `out`, which must be new or empty.
///
/// # Errors
/// Where there is nothing to pack, a record is damaged, or a file cannot be read or written.
pub fn pack(runs: &Path, out: &Path, limits: &Limits) -> anyhow::Result<Packed> {
    let mut found = find::find(runs)?;
    rank::sort(&mut found);
    let occupied =
        out.is_dir() && fs::read_dir(out).with_context(|| out.display().to_string())?.next().is_some();
    ensure!(!occupied, "{} is not empty: name a new folder", out.display());

    let mut writer =
        Writer { out, limits, pending: Vec::new(), index: Index { format: FORMAT, ..Index::default() } };
    writer.write(&found.groups).inspect_err(|_| writer.remove())
}

struct Writer<'a> {
    out: &'a Path,
    limits: &'a Limits,
    /// The part in the making.
    pending: Vec<u8>,
    index: Index,
}

impl Writer<'_> {
    /// Writes all groups, and the index last.
    fn write(&mut self, groups: &[Group]) -> anyhow::Result<Packed> {
        for group in groups {
            self.add(group)?;
        }
        self.flush()?;
        let Index { part, file, left_out, .. } = &self.index;
        let text = toml::to_string(&self.index)?;
        if text.len() as u64 > self.limits.bytes {
            bail!("{} files are more than {INDEX} has room for: pack one experiment at a time", file.len());
        }
        store(&self.out.join(INDEX), text.as_bytes())?;
        let bytes = part.iter().map(|part| part.bytes).sum::<u64>() + text.len() as u64;
        Ok(Packed { files: file.len(), parts: part.len() + 1, bytes, left_out: left_out.clone() })
    }

    /// Removes the parts of a folder that was not finished, so that the same command may try again.
    fn remove(&self) {
        for part in &self.index.part {
            let _ = fs::remove_file(self.out.join(&part.name));
        }
    }

    /// Adds the files of a group, or notes that they do not fit.
    fn add(&mut self, group: &Group) -> anyhow::Result<()> {
        let Some(group) = current(group)? else { return Ok(()) };
        let mut entries = Vec::new();
        let mut packed = Vec::new();
        let (mut sizes, mut is_small) = (Vec::new(), true);
        for (slot, path) in &group.files {
            let read = || format!("cannot read {}", path.display());
            let bytes = fs::metadata(path).with_context(read)?.len();
            sizes.push(LeftOut { path: slot.to_string(), bytes });
            is_small &= bytes <= LARGEST;
            if !is_small {
                continue;
            }
            let content = fs::read(path).with_context(read)?;
            let compressed = zstd::encode_all(content.as_slice(), LEVEL).with_context(read)?;
            entries.push(Entry {
                path: slot.to_string(),
                bytes: content.len() as u64,
                sha256: sha256(&content),
                packed: compressed.len() as u64,
            });
            packed.extend(compressed);
        }
        // As many as are unpacked at once.
        let so_far: u64 = self.index.file.iter().map(|entry| entry.bytes).sum();
        let fits = so_far + sizes.iter().map(|file| file.bytes).sum::<u64>() <= LARGEST_IN_ALL;
        if !is_small || !fits || packed.len() as u64 > self.room() {
            self.index.left_out.extend(sizes);
            return Ok(());
        }
        self.index.file.extend(entries);
        let size = usize::try_from(self.limits.bytes)?;
        let mut rest = packed.as_slice();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(size - self.pending.len()));
            self.pending.extend(now);
            rest = later;
            if self.pending.len() == size {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Bytes that the parts can still take; one file is the index.
    fn room(&self) -> u64 {
        let parts = self.limits.files.saturating_sub(1 + self.index.part.len()) as u64;
        parts * self.limits.bytes - self.pending.len() as u64
    }

    /// Writes the part in the making.
    fn flush(&mut self) -> anyhow::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let name = part_name(self.index.part.len() + 1);
        store(&self.out.join(&name), &self.pending)?;
        let (bytes, sha256) = (self.pending.len() as u64, sha256(&self.pending));
        self.index.part.push(Part { name, bytes, sha256 });
        self.pending.clear();
        Ok(())
    }
}

/// The group as it is now: a run in training has newer checkpoints than when it was found, and removes the old ones. None where it
/// has finished since.
fn current(group: &Group) -> anyhow::Result<Option<Group>> {
    let [(Slot::Checkpoint(run, _), path)] = &group.files[..] else { return Ok(Some(group.clone())) };
    let dir = path.parent().unwrap_or(path);
    if path.is_file() {
        return Ok(Some(group.clone()));
    }
    let newest = checkpoint::newest(dir)?;
    if newest.is_none() {
        eprintln!("{}/seed-{} has finished meanwhile: pack again to have it", run.row, run.seed);
    }
    Ok(newest.map(|path| Group { files: vec![(Slot::checkpoint(run.clone(), &path), path)] }))
}

fn store(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    whole_file::write(path, bytes).context("nothing was packed: make space, or name a folder elsewhere")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::slot::RunPath;
    use crate::train::checkpoint;
    use crate::train::training::Training;

    /// A run that goes on while its folder is packed has another checkpoint by the time that it is read, and then none.
    #[test]
    fn a_checkpoint_that_was_replaced_meanwhile_is_packed_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunPath { folder: "quick-smoke".to_owned(), row: "be".to_owned(), seed: 1 };
        let dir = run.checkpoints(folder.path());
        let name = |epoch| format!("epoch-{epoch:06}-step-00000000.safetensors");
        let found = |epoch| {
            let path = dir.join(name(epoch));
            Group { files: vec![(Slot::checkpoint(run.clone(), &path), path)] }
        };
        let checkpoints = checkpoint::Checkpoints::new(dir.clone(), toml::Table::new());
        checkpoints.save(&Training::small()).unwrap();
        assert_eq!(current(&found(0)).unwrap(), Some(found(0)));
        fs::rename(dir.join(name(0)), dir.join(name(1))).unwrap();
        assert_eq!(current(&found(0)).unwrap(), Some(found(1)));
        fs::remove_file(dir.join(name(1))).unwrap();
        assert_eq!(current(&found(0)).unwrap(), None);
    }
}
