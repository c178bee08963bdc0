//! Unpacking: everything is checked before anything is written, and each record appears whole or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use claims::{Attempt, Claim, Claims};
use results::record::{MODEL, Place, RUN, RunInfo};

use super::slot::{RunPath, Slot};
use super::{
    Entry, FORMAT, INDEX, Index, LARGEST, LARGEST_IN_ALL, LeftOut, Limits, conflicts, part_name, sha256,
};
use crate::plan::stored::Stored;
use crate::train::run::claim_dir;
use crate::whole_file;

/// What was unpacked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Files that were written.
    pub written: usize,
    /// Files that were there already, the same, or are of no use beside what is there.
    pub skipped: usize,
    /// What did not fit when it was packed.
    pub left_out: Vec<LeftOut>,
}

/// The content of a packed folder.
pub(super) type Content = BTreeMap<Slot, Vec<u8>>;

/// Unpacks the folder `packed` into the folder of records `out`.
///
/// # Errors
/// Where a part is missing or damaged, a file that is there already has other content, a run was begun there with other
/// settings or data, a run is being trained, or a file cannot be written. Nothing is written in the first three cases.
pub fn unpack(packed: &Path, out: &Path) -> anyhow::Result<Unpacked> {
    let index = read_index(packed)?;
    let content = read_content(packed, &index)?;
    let places = places(&content)?;
    conflicts::refuse(&content, out)?;

    let mut done = Unpacked { left_out: index.left_out, ..Unpacked::default() };
    write(&content, &places, out, &mut done).context(
        "not all was unpacked; what is there is whole, and the same command goes on once this is mended",
    )?;
    Ok(done)
}

/// Writes what is missing of `content` under `out`.
fn write(
    content: &Content,
    places: &BTreeMap<RunPath, Place>,
    out: &Path,
    done: &mut Unpacked,
) -> anyhow::Result<()> {
    let mut records: BTreeMap<RunPath, Vec<(&str, &[u8])>> = BTreeMap::new();
    for (slot, bytes) in content {
        if let Slot::Record(run, file) = slot {
            records.entry(run.clone()).or_default().push((file, bytes));
        }
    }
    for (run, files) in &records {
        let (written, skipped) = unpack_record(run, files, places.get(run), out)?;
        done.written += written;
        done.skipped += skipped;
    }
    for (slot, bytes) in content {
        let written = match slot {
            Slot::Record(..) => continue,
            Slot::Checkpoint(run, _) => unpack_checkpoint(run, &slot.path(out), bytes, out)?,
            Slot::Analysis(..) => write_missing(&slot.path(out), bytes)?,
            Slot::Plan(folder) => plan(bytes)?.merge_into(&out.join(folder))?,
        };
        done.written += usize::from(written);
        done.skipped += usize::from(!written);
    }
    Ok(())
}

fn read_index(packed: &Path) -> anyhow::Result<Index> {
    let path = packed.join(INDEX);
    let text = fs::read_to_string(&path).with_context(|| {
        format!("cannot read {}: is this a folder that `divkd pack` wrote?", path.display())
    })?;
    let damaged = || format!("{} is damaged: copy the folder again", path.display());
    let index: Index = toml::from_str(&text).with_context(damaged)?;
    ensure!(
        index.format == FORMAT,
        "{} has format {}, this program reads {FORMAT}: unpack it with the version that packed it",
        path.display(),
        index.format
    );
    let limits = Limits::default();
    ensure!(index.part.len() < limits.files, "{}: {} parts are too many", path.display(), index.part.len());
    Ok(index)
}

/// The bytes of all parts, checked.
fn read_parts(packed: &Path, index: &Index) -> anyhow::Result<Vec<u8>> {
    let mut stream = Vec::new();
    for (number, part) in index.part.iter().enumerate() {
        let name = part_name(number + 1);
        ensure!(part.name == name, "{INDEX}: part {} is named `{}`, not {name}", number + 1, part.name);
        let path = packed.join(&name);
        let file = fs::File::open(&path).with_context(|| {
            format!("cannot read {}: it belongs to the folder, copy it too", path.display())
        })?;
        let start = stream.len();
        // A byte more than there should be is enough to know.
        file.take(part.bytes.min(Limits::default().bytes).saturating_add(1))
            .read_to_end(&mut stream)
            .with_context(|| format!("cannot read {}", path.display()))?;
        let bytes = &stream[start..];
        ensure!(
            bytes.len() as u64 == part.bytes && sha256(bytes) == part.sha256,
            "{} is damaged (its size or hash does not fit {INDEX}): copy it again",
            path.display()
        );
    }
    Ok(stream)
}

fn read_content(packed: &Path, index: &Index) -> anyhow::Result<Content> {
    let all = index.file.iter().fold(0_u64, |all, entry| all.saturating_add(entry.bytes));
    ensure!(
        all <= LARGEST_IN_ALL,
        "{INDEX} names {all} bytes, more than the {LARGEST_IN_ALL} that are unpacked at once"
    );
    let stream = read_parts(packed, index)?;
    let mut rest = stream.as_slice();
    let mut content = Content::new();
    for entry in &index.file {
        let slot = Slot::parse(&entry.path)
            .with_context(|| format!("{INDEX}: `{}` is no file of a record, refused", entry.path))?;
        let packed = usize::try_from(entry.packed).ok().and_then(|packed| rest.split_at_checked(packed));
        let (packed, later) =
            packed.with_context(|| format!("{INDEX} is damaged: the parts end within {}", entry.path))?;
        rest = later;
        let bytes =
            decompress(packed, entry).with_context(|| format!("{} is damaged in the parts", entry.path))?;
        ensure!(content.insert(slot, bytes).is_none(), "{INDEX} is damaged: {} is there twice", entry.path);
    }
    ensure!(rest.is_empty(), "{INDEX} is damaged: the parts hold more than it names");
    Ok(content)
}

fn decompress(packed: &[u8], entry: &Entry) -> anyhow::Result<Vec<u8>> {
    ensure!(entry.bytes <= LARGEST, "{} bytes are more than the {LARGEST} that are unpacked", entry.bytes);
    let mut bytes = Vec::new();
    zstd::Decoder::new(packed)?.take(entry.bytes + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 == entry.bytes && sha256(&bytes) == entry.sha256, "size or hash does not fit");
    Ok(bytes)
}

/// The place of each packed record by its description, which must be where it was.
fn places(content: &Content) -> anyhow::Result<BTreeMap<RunPath, Place>> {
    let mut places = BTreeMap::new();
    for (slot, bytes) in content {
        let Slot::Record(run, file) = slot else { continue };
        if file != RUN {
            continue;
        }
        let info: RunInfo = toml::from_str(str::from_utf8(bytes)?).with_context(|| slot.to_string())?;
        let place = Place::new(&info.experiment, &info.preset, &info.row, info.seed)?;
        let root = Path::new("");
        ensure!(place.dir(root) == run.dir(root), "{slot} describes {}", place.dir(root).display());
        places.insert(run.clone(), place);
    }
    Ok(places)
}

/// A packed plan.
pub(super) fn plan(bytes: &[u8]) -> anyhow::Result<Stored> {
    Stored::parse(str::from_utf8(bytes)?)
}

/// Files written and skipped.
fn unpack_record(
    run: &RunPath,
    files: &[(&str, &[u8])],
    place: Option<&Place>,
    out: &Path,
) -> anyhow::Result<(usize, usize)> {
    let _claim = claim(run, out)?;
    let dir = run.dir(out);
    if dir.is_dir() {
        let model = files.iter().find(|(name, _)| *name == MODEL);
        let written = model.map_or(Ok(false), |(name, bytes)| write_missing(&dir.join(name), bytes))?;
        return Ok((usize::from(written), files.len() - usize::from(written)));
    }
    let Some(place) = place else {
        // A model whose record was not packed: it cannot be used.
        return Ok((0, files.len()));
    };
    let draft = place.begin(out)?;
    let write = || -> anyhow::Result<()> {
        for (name, bytes) in files {
            let path = draft.join(name);
            fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        place.finish(out)?;
        Ok(())
    };
    write().inspect_err(|_| {
        let _ = fs::remove_dir_all(&draft);
    })?;
    // As when a run ends in its record.
    remove(&run.checkpoints(out))?;
    Ok((files.len(), 0))
}

/// Whether it was written: not beside the run's record.
fn unpack_checkpoint(run: &RunPath, path: &Path, bytes: &[u8], out: &Path) -> anyhow::Result<bool> {
    let _claim = claim(run, out)?;
    if run.dir(out).is_dir() { Ok(false) } else { write_missing(path, bytes) }
}

/// Whether the file was missing, and is written now.
fn write_missing(path: &Path, bytes: &[u8]) -> anyhow::Result<bool> {
    if path.is_file() {
        return Ok(false);
    }
    whole_file::write(path, bytes)?;
    Ok(true)
}

/// The claim of a run, so that no process trains it meanwhile. That of a process on another machine which has been silent for
/// long is taken over, as in training.
fn claim(run: &RunPath, out: &Path) -> anyhow::Result<Claim> {
    let dir = claim_dir(&out.join(&run.folder), &run.run());
    let name = format!("{}/seed-{}", run.row, run.seed);
    let mut claims = Claims::default();
    let mut attempt = claims.take(&dir)?;
    if let Attempt::Held(holder) = &attempt
        && claims::holder(&dir)?.is_some_and(|holder| !holder.is_alive())
    {
        eprintln!("{name} was trained by {holder}, which is silent: it takes three minutes to be sure");
        attempt = claims.take_from_the_silent(&dir)?;
    }
    match attempt {
        Attempt::Taken(claim) => Ok(claim),
        Attempt::Held(holder) => bail!("{name} is trained by {holder}: wait for it, or stop it"),
    }
}

fn remove(dir: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_of_another_format_or_with_too_many_parts_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            fs::write(folder.path().join(INDEX), text).unwrap();
            format!("{:#}", unpack(folder.path(), &folder.path().join("out")).unwrap_err())
        };
        assert!(read("format = 2").contains("has format 2, this program reads 1"));
        let part = "[[part]]\nname = 'part-1.zst'\nbytes = 1\nsha256 = ''\n";
        assert!(read(&format!("format = 1\n{}", part.repeat(8))).contains("8 parts are too many"));
        assert!(read(&format!("format = 1\n{part}")).contains("part-1.zst: it belongs to the folder"));
        let file = |row: &str| {
            format!(
                "[[file]]\npath = 'quick-smoke/{row}/seed-1/run.toml'\nbytes = 3000000000\nsha256 = ''\npacked = 0\n"
            )
        };
        let found = read(&format!("format = 1\n{}{}", file("be"), file("kd")));
        assert!(found.contains("names 6000000000 bytes, more than the 4294967296"), "{found}");
        assert!(read("format = ").contains("pack.toml is damaged"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was written");
    }
}
