//! Where a run belongs, and how it gets there: written into a draft, renamed when complete.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::finished::Record;
use super::layout::{DRAFT, RUN, seed_folder};
use crate::{Error, Result};

/// The place of one run: `<out>/<experiment>-<preset>/<row>/seed-<n>/`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    experiment: String,
    preset: String,
    row: String,
    seed: u64,
}

impl Place {
    /// The place of `row` with `seed` in `experiment` with `preset`.
    ///
    /// # Errors
    /// Where a name cannot be a folder's: letters, digits, `-`, `_` and `.`, beginning with a letter or digit.
    pub fn new(experiment: &str, preset: &str, row: &str, seed: u64) -> Result<Self> {
        for (what, name) in [("experiment", experiment), ("preset", preset), ("row", row)] {
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            if !plain || !name.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                return Err(Error::Name { what, name: name.to_owned() });
            }
        }
        Ok(Self { experiment: experiment.to_owned(), preset: preset.to_owned(), row: row.to_owned(), seed })
    }

    /// The record's folder under `out`.
    pub fn dir(&self, out: &Path) -> PathBuf {
        self.row_dir(out).join(seed_folder(self.seed))
    }

    /// The draft's folder under `out`, beside the record's, so that the rename stays on one file system.
    pub fn draft_dir(&self, out: &Path) -> PathBuf {
        self.row_dir(out).join(format!("{DRAFT}{}", seed_folder(self.seed)))
    }

    /// Whether the record's folder exists, which it does only when complete.
    pub fn is_finished(&self, out: &Path) -> bool {
        self.dir(out).is_dir()
    }

    /// Makes the draft's folder, empty, and returns it: all that is in it when it is finished becomes part of the record, so what
    /// a killed process left there goes.
    ///
    /// # Errors
    /// Where the record exists already, or the folder cannot be made or emptied.
    pub fn begin(&self, out: &Path) -> Result<PathBuf> {
        self.refuse_finished(out)?;
        let draft = self.draft_dir(out);
        match fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io("remove", &draft)(error));
            }
            _ => {}
        }
        fs::create_dir_all(&draft).map_err(Error::io("create", &draft))?;
        Ok(draft)
    }

    /// Turns the complete draft into the record: checks its files, flushes them to the disk and renames the folder.
    /// Everything in the draft becomes part of the record.
    ///
    /// # Errors
    /// Where a file is missing or not valid, `run.toml` describes another run, the record exists already, or the
    /// rename fails.
    pub fn finish(&self, out: &Path) -> Result<Record> {
        let draft = self.draft_dir(out);
        let record = Record::load(&draft)?;
        self.check_description(&record)?;
        record.epochs()?;
        record.predictions()?;
        for entry in fs::read_dir(&draft).map_err(Error::io("read", &draft))? {
            let path = entry.map_err(Error::io("read", &draft))?.path();
            let file = fs::File::open(&path).map_err(Error::io("open", &path))?;
            file.sync_all().map_err(Error::io("flush", &path))?;
        }
        self.refuse_finished(out)?;
        let dir = self.dir(out);
        fs::rename(&draft, &dir).map_err(Error::io("rename the draft to", &dir))?;
        Record::open(&dir)
    }

    fn row_dir(&self, out: &Path) -> PathBuf {
        out.join(format!("{}-{}", self.experiment, self.preset)).join(&self.row)
    }

    fn refuse_finished(&self, out: &Path) -> Result<()> {
        if self.is_finished(out) { Err(Error::Exists { dir: self.dir(out) }) } else { Ok(()) }
    }

    fn check_description(&self, record: &Record) -> Result<()> {
        let info = record.info();
        for (key, expected, found) in [
            ("experiment", &self.experiment, &info.experiment),
            ("preset", &self.preset, &info.preset),
            ("row", &self.row, &info.row),
            ("seed", &self.seed.to_string(), &info.seed.to_string()),
        ] {
            if expected != found {
                return Err(Error::Mismatch {
                    path: record.dir().join(RUN),
                    key,
                    expected: expected.clone(),
                    found: found.clone(),
                    advice: "write the description of the run that the folder is for",
                });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_folder() {
        for bad in ["", ".", "..", "a/b", ".tmp-x", "a b", "-x", "é"] {
            assert!(
                matches!(Place::new("quick", "smoke", bad, 1), Err(Error::Name { what: "row", .. })),
                "{bad}"
            );
        }
        let place = Place::new("tiny-imagenet", "paper", "be-kd", 3).unwrap();
        assert_eq!(place.dir(Path::new("runs")), Path::new("runs/tiny-imagenet-paper/be-kd/seed-3"));
        assert_eq!(
            place.draft_dir(Path::new("runs")),
            Path::new("runs/tiny-imagenet-paper/be-kd/.tmp-seed-3")
        );
    }
}
