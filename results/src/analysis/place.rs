//! Where the arrays lie.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Analysis, TEACHERS};
use crate::{Error, Result, rows};

/// The folder of the arrays, beside an experiment's rows.
pub const FOLDER: &str = "analysis";

/// The file of `row` and `seed` in the experiment's folder `folder`: `<folder>/analysis/<row>.seed-<n>.safetensors`.
pub fn path(folder: &Path, row: &str, seed: u64) -> PathBuf {
    folder.join(FOLDER).join(format!("{row}.seed-{seed}.safetensors"))
}

/// Every stored analysis of the experiment's folder `folder` (`<experiment>-<preset>`): the teachers' first, then the
/// students' in the tables' order, by seed; none where nothing is stored. Other files and temporary ones are left out.
///
/// # Errors
/// Where the folder cannot be read, or as [`Analysis::read`].
pub fn scan(folder: &Path) -> Result<Vec<Analysis>> {
    let dir = folder.join(FOLDER);
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&dir).map_err(Error::io("read", &dir))? {
        let name = entry.map_err(Error::io("read", &dir))?.file_name();
        if let Some((row, seed)) = name.to_str().and_then(row_and_seed) {
            found.push((row.to_owned(), seed));
        }
    }
    found.sort_by_cached_key(|(row, seed)| (row != TEACHERS, rows::order(row), *seed));
    found.iter().map(|(row, seed)| Analysis::read(&path(folder, row, *seed))).collect()
}

/// Row and seed of a file of this name, in its one spelling.
pub(super) fn row_and_seed(name: &str) -> Option<(&str, u64)> {
    let (row, seed) = name.strip_suffix(".safetensors")?.rsplit_once(".seed-")?;
    let number: u64 = seed.parse().ok()?;
    (!row.is_empty() && !row.starts_with('.') && number.to_string() == seed).then_some((row, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        assert_eq!(row_and_seed("be-kd.seed-12.safetensors"), Some(("be-kd", 12)));
        for other in [
            "be-kd.seed-012.safetensors",
            "be-kd.seed-.safetensors",
            ".tmp-be.seed-1.safetensors",
            ".seed-1.safetensors",
            "be-kd.seed-1.csv",
            "be-kd-1.safetensors",
        ] {
            assert_eq!(row_and_seed(other), None, "{other}");
        }
    }
}
