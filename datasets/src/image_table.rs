//! A parquet file whose rows are images: a struct column {bytes, path} and an integer label column.
//!
//! The file is read once, into memory; row groups are decompressed and images decoded in parallel, each into its own place, so
//! the result does not depend on threads. Nothing is allocated from a declared count before it was bounded, and a
//! panic inside the parquet reader (a damaged page can cause one) becomes an error of the row group.

use std::fs::File;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use parquet::basic::Type as PhysicalType;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use rayon::prelude::*;

use crate::decode::decode;
use crate::{Error, Result, pool};

/// The longest file that is read: a few times the largest of the data sets' files.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// The most rows that a file may declare, twenty times the largest of the data sets' files.
const MAX_ROWS: usize = 2_000_000;

/// An opened table: schema and labels are checked, images are still encoded.
pub struct ImageTable {
    path: PathBuf,
    reader: SerializedFileReader<Bytes>,
    /// Rows of each row group, counted over the whole file.
    groups: Vec<Range<usize>>,
    image_column: usize,
    labels: Vec<u32>,
}

/// The columns and classes a table is opened with.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// Struct column {bytes, path} of the encoded image.
    pub image: &'a str,
    /// Integer column of the label.
    pub label: &'a str,
    /// Labels must lie in 0..classes.
    pub classes: usize,
}

impl ImageTable {
    /// Reads the file, checks its schema and reads every label.
    ///
    /// # Errors
    /// Names the file and, where it can, the row group and row: unreadable or too long files, missing or mistyped columns,
    /// null or out-of-range labels, no rows, more rows than any of the data sets has.
    pub fn open(path: &Path, columns: Columns<'_>) -> Result<Self> {
        let length = std::fs::metadata(path).map_err(Error::io("open", path))?.len();
        if length > MAX_FILE_BYTES {
            return Err(Error::TooLarge { path: path.to_owned(), bytes: length, limit: MAX_FILE_BYTES });
        }
        let bytes = Bytes::from(std::fs::read(path).map_err(Error::io("read", path))?);
        let failed = |problem: String| Error::Parquet { path: path.to_owned(), row_group: None, problem };
        let reader = guarded(|| SerializedFileReader::new(bytes)).map_err(failed)?;
        let groups = group_rows(&reader).map_err(failed)?;
        if groups.last().is_none_or(|last| last.end == 0) {
            return Err(Error::NoRows { path: path.to_owned() });
        }
        let image_column =
            find_column(&reader, path, &format!("{}.bytes", columns.image), &[PhysicalType::BYTE_ARRAY])?;
        let label_column =
            find_column(&reader, path, columns.label, &[PhysicalType::INT64, PhysicalType::INT32])?;
        let mut table = Self { path: path.to_owned(), reader, groups, image_column, labels: Vec::new() };
        table.labels = table.read_labels(label_column, columns.classes)?;
        Ok(table)
    }

    /// Where the table was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Label of every row, each below the number of classes.
    pub fn labels(&self) -> &[u32] {
        &self.labels
    }

    /// Decodes `rows` (strictly ascending) of images that are `size` x `size`, each averaged down by `factor`.
    /// Returns (rows, 3, size / factor, size / factor), planar. `done` is called with the number of images finished
    /// since its last call, from any thread.
    ///
    /// # Errors
    /// The first row (in file order) that cannot be decoded, with its row group.
    ///
    /// # Panics
    /// Where `rows` is not ascending, leaves the table, or `factor` does not divide `size`.
    pub fn images(
        &self,
        rows: &[usize],
        size: usize,
        factor: usize,
        done: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<u8>> {
        assert!(rows.is_sorted_by(|a, b| a < b), "rows are strictly ascending");
        assert!(rows.last().is_none_or(|&last| last < self.labels.len()), "rows lie in the table");
        assert!(factor > 0 && size.is_multiple_of(factor), "the factor divides the size");
        let example = 3 * (size / factor) * (size / factor);
        let mut images = vec![0; rows.len() * example];
        let mut jobs = Vec::new();
        let mut rest = images.as_mut_slice();
        for (index, group) in self.groups.iter().enumerate() {
            let wanted =
                &rows[rows.partition_point(|&r| r < group.start)..rows.partition_point(|&r| r < group.end)];
            let (out, after) = rest.split_at_mut(wanted.len() * example);
            rest = after;
            if !wanted.is_empty() {
                jobs.push((index, wanted, out));
            }
        }
        let results: Vec<Result<()>> = jobs
            .into_par_iter()
            .map(|(group, wanted, out)| {
                self.decode_group(group, wanted, size, factor, out)?;
                done(wanted.len());
                Ok(())
            })
            .collect();
        results.into_iter().collect::<Result<()>>()?;
        Ok(images)
    }

    fn decode_group(
        &self,
        group: usize,
        wanted: &[usize],
        size: usize,
        factor: usize,
        out: &mut [u8],
    ) -> Result<()> {
        let rows = self.groups[group].clone();
        let encoded = self.read_column(group, self.image_column, |reader, rows, level| match reader {
            ColumnReader::ByteArrayColumnReader(reader) => read_all(reader, rows, level),
            _ => Err(ParquetError::General("image bytes are not a byte array".to_owned())),
        })?;
        let example = out.len() / wanted.len();
        let results: Vec<Result<()>> = out
            .par_chunks_mut(example)
            .zip(wanted)
            .map(|(out, &row)| {
                let fail = |problem: String| self.row_error(group, row, problem);
                let bytes: &ByteArray = encoded[row - rows.start]
                    .as_ref()
                    .ok_or_else(|| fail("image bytes are null (only a path is stored)".to_owned()))?;
                if factor == 1 {
                    return decode(bytes.data(), size, out).map_err(|e| fail(e.to_string()));
                }
                let mut full = vec![0; 3 * size * size];
                decode(bytes.data(), size, &mut full).map_err(|e| fail(e.to_string()))?;
                pool::average(&full, size, factor, out);
                Ok(())
            })
            .collect();
        results.into_iter().collect()
    }

    fn read_labels(&self, column: usize, classes: usize) -> Result<Vec<u32>> {
        let mut labels = Vec::with_capacity(self.groups.last().map_or(0, |last| last.end));
        for (group, rows) in self.groups.iter().enumerate() {
            let values = self.read_column(group, column, |reader, rows, level| match reader {
                ColumnReader::Int64ColumnReader(reader) => read_all(reader, rows, level),
                ColumnReader::Int32ColumnReader(reader) => {
                    Ok(read_all(reader, rows, level)?.into_iter().map(|value| value.map(i64::from)).collect())
                }
                _ => Err(ParquetError::General("labels are not integers".to_owned())),
            })?;
            for (value, row) in values.into_iter().zip(rows.clone()) {
                let value = value.ok_or_else(|| self.row_error(group, row, "label is null".to_owned()))?;
                let label = u32::try_from(value).ok().filter(|&label| (label as usize) < classes);
                labels.push(label.ok_or_else(|| {
                    self.row_error(group, row, format!("label {value}, expected 0 to {}", classes - 1))
                })?);
            }
        }
        Ok(labels)
    }

    /// Reads one column chunk, with the row group in the error.
    fn read_column<T>(
        &self,
        group: usize,
        column: usize,
        read: impl FnOnce(ColumnReader, usize, i16) -> parquet::errors::Result<Vec<T>>,
    ) -> Result<Vec<T>> {
        let rows = &self.groups[group];
        let max_level = self.reader.metadata().file_metadata().schema_descr().column(column).max_def_level();
        guarded(|| {
            let reader = self.reader.get_row_group(group)?.get_column_reader(column)?;
            let values = read(reader, rows.len(), max_level)?;
            if values.len() == rows.len() {
                return Ok(values);
            }
            Err(ParquetError::General(format!(
                "{} values where the row group declares {}",
                values.len(),
                rows.len()
            )))
        })
        .map_err(|problem| {
            let problem = format!("{problem} (rows {} to {})", rows.start, rows.end.saturating_sub(1));
            Error::Parquet { path: self.path.clone(), row_group: Some(group), problem }
        })
    }

    fn row_error(&self, row_group: usize, row: usize, problem: String) -> Error {
        let row_in_group = row - self.groups[row_group].start;
        Error::Row { path: self.path.clone(), row_group, row, row_in_group, problem }
    }
}

/// Row ranges of the groups, from counts that are checked before anything is sized by them.
fn group_rows(reader: &SerializedFileReader<Bytes>) -> std::result::Result<Vec<Range<usize>>, String> {
    let mut groups = Vec::new();
    let mut end = 0_usize;
    for group in reader.metadata().row_groups() {
        let start = end;
        end = usize::try_from(group.num_rows())
            .ok()
            .and_then(|rows| start.checked_add(rows))
            .filter(|&end| end <= MAX_ROWS)
            .ok_or_else(|| format!("it declares more than {MAX_ROWS} rows (or a negative count)"))?;
        groups.push(start..end);
    }
    Ok(groups)
}

/// Index of the leaf column `name`, which must have one of the given types and no repetition.
fn find_column(
    reader: &SerializedFileReader<Bytes>,
    path: &Path,
    name: &str,
    types: &[PhysicalType],
) -> Result<usize> {
    let schema = reader.metadata().file_metadata().schema_descr();
    let expected = types.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
    let error = |found: String| Error::Schema {
        path: path.to_owned(),
        expected: format!("`{name}` of type {expected}"),
        found,
    };
    let index =
        schema.columns().iter().position(|column| column.path().string() == name).ok_or_else(|| {
            let names: Vec<String> = schema.columns().iter().map(|column| column.path().string()).collect();
            error(format!("the columns {}", names.join(", ")))
        })?;
    let column = schema.column(index);
    if types.contains(&column.physical_type()) && column.max_rep_level() == 0 {
        Ok(index)
    } else {
        let repeated = if column.max_rep_level() > 0 { "repeated " } else { "" };
        Err(error(format!("that column with type {repeated}{}", column.physical_type())))
    }
}

/// Every value of a column chunk that must hold `rows` of them; none where one is null, so where its definition level
/// is below `max_level`.
fn read_all<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    rows: usize,
    max_level: i16,
) -> parquet::errors::Result<Vec<Option<T::T>>> {
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    let mut read = 0;
    while read < rows {
        let (records, _, _) = reader.read_records(rows - read, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            return Err(ParquetError::EOF(format!("{read} values where the row group declares {rows}")));
        }
        read += records;
    }
    if reader.read_records(1, Some(&mut Vec::new()), None, &mut Vec::new())?.0 > 0 {
        return Err(ParquetError::General(format!(
            "more values than the {rows} that the row group declares"
        )));
    }
    let all: Vec<Option<T::T>> = if max_level == 0 {
        values.into_iter().map(Some).collect()
    } else {
        let mut values = values.into_iter();
        levels.into_iter().map(|level| if level == max_level { values.next() } else { None }).collect()
    };
    // The counts of damaged pages need not fit together.
    if all.len() == rows {
        Ok(all)
    } else {
        Err(ParquetError::General(format!("{} values where the row group declares {rows}", all.len())))
    }
}

/// Whether a file's footer can be read as that of a parquet file: tells a whole file from a cut one and from anything else.
pub(crate) fn has_footer(path: &Path) -> Result<bool> {
    let file = File::open(path).map_err(Error::io("open", path))?;
    Ok(guarded(|| SerializedFileReader::new(file)).is_ok())
}

/// Runs a part of the parquet reader; its errors and its panics both become text.
fn guarded<T>(read: impl FnOnce() -> parquet::errors::Result<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|e| e.to_string()),
        Err(_) => Err("the parquet reader stopped on malformed content".to_owned()),
    }
}
