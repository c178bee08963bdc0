//! Parquet files that are whole, damaged or hostile: what is read, and what the error says.

use std::path::PathBuf;

use bytes::Bytes;
use datasets::Error;
use datasets::image_table::{Columns, ImageTable};
use parquet::file::metadata::{ParquetMetaDataReader, ParquetMetaDataWriter, RowGroupMetaData};
use tempfile::TempDir;

use crate::support::{Row, good_rows, tagged_planes, write_schema, write_table};

const COLUMNS: Columns<'static> = Columns { image: "img", label: "label", classes: 3 };

struct Case {
    _folder: TempDir,
    path: PathBuf,
}

fn case(write: impl FnOnce(&std::path::Path)) -> Case {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("table.parquet");
    write(&path);
    Case { _folder: folder, path }
}

/// Ten rows in row groups of four.
fn ten(change: impl FnOnce(&mut Vec<Row>)) -> Case {
    let mut rows = good_rows(10, 4, 3, 0);
    change(&mut rows);
    case(|path| write_table(path, "img", "label", &rows, 4))
}

impl Case {
    fn read(&self) -> Result<Vec<u8>, Error> {
        let table = ImageTable::open(&self.path, COLUMNS)?;
        let rows: Vec<usize> = (0..table.labels().len()).collect();
        table.images(&rows, 4, 1, &|_| {})
    }

    /// The error's text, which must name the file and hold `words`.
    fn fails_with(&self, words: &[&str]) {
        let text = self.read().unwrap_err().to_string();
        assert!(text.contains("table.parquet"), "{text}");
        words.iter().for_each(|word| assert!(text.contains(word), "no `{word}` in: {text}"));
    }
}

#[test]
fn rows_come_in_file_order_over_row_groups() {
    let case = ten(|_| {});
    let table = ImageTable::open(&case.path, COLUMNS).unwrap();
    assert_eq!(table.labels(), [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]);
    let expected = |tags: &[u8]| tags.iter().flat_map(|&tag| tagged_planes(4, tag)).collect::<Vec<_>>();
    assert_eq!(case.read().unwrap(), expected(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]));
    assert_eq!(table.images(&[3, 4, 9], 4, 1, &|_| {}).unwrap(), expected(&[3, 4, 9]));
    assert!(table.images(&[], 4, 1, &|_| {}).unwrap().is_empty());
    // Averaged by two: rows 0, 1 -> 1 (half up), 2, 3 -> 3; columns likewise; the tag stays.
    assert_eq!(table.images(&[5], 4, 2, &|_| {}).unwrap(), [1, 1, 3, 3, 1, 3, 1, 3, 5, 5, 5, 5]);
}

#[test]
fn bad_rows_are_named_with_their_group() {
    let at = ["row 6 (row group 1, row 2 of it)"];
    ten(|rows| rows[6].1 = Some(3)).fails_with(&[at[0], "label 3, expected 0 to 2"]);
    ten(|rows| rows[6].1 = Some(-1)).fails_with(&[at[0], "label -1"]);
    ten(|rows| rows[6].1 = None).fails_with(&[at[0], "label is null"]);
    ten(|rows| rows[6].0 = None).fails_with(&[at[0], "null"]);
    ten(|rows| rows[6].0 = Some(b"no image".to_vec())).fails_with(&[at[0], "neither PNG nor JPEG"]);
    ten(|rows| rows[6].0.as_mut().unwrap().truncate(50)).fails_with(&[at[0], "PNG cannot be decoded"]);
    ten(|rows| rows[6].0 = Some(crate::support::tagged_png(5, 0))).fails_with(&[at[0], "5x5", "4x4"]);
    // Of several, the first in file order.
    ten(|rows| rows.iter_mut().skip(6).for_each(|row| row.0 = None)).fails_with(&at);
}

#[test]
fn nulls_only_and_no_rows_are_errors() {
    ten(|rows| rows.iter_mut().for_each(|row| row.0 = None)).fails_with(&["row 0", "null"]);
    ten(|rows| rows.iter_mut().for_each(|row| row.1 = None)).fails_with(&["row 0", "label is null"]);
    ten(Vec::clear).fails_with(&["no rows"]);
}

#[test]
fn wrong_schemas_say_what_is_there() {
    let rows = good_rows(2, 4, 3, 0);
    let renamed = case(|path| write_table(path, "image", "label", &rows, 4));
    renamed.fails_with(&["`img.bytes`", "image.bytes", "label"]);
    let relabelled = case(|path| write_table(path, "img", "fine_label", &rows, 4));
    relabelled.fails_with(&["`label`", "fine_label"]);
    let schema = "message schema { optional group img { optional binary other; optional binary label; } \
                  optional int64 number; }";
    case(|path| write_schema(path, schema, &rows, 4)).fails_with(&["`img.bytes`", "img.other"]);
    let wrong_type = Columns { image: "img", label: "img.path", classes: 3 };
    let good = ten(|_| {});
    let text = ImageTable::open(&good.path, wrong_type).err().unwrap().to_string();
    assert!(text.contains("INT64") && text.contains("BYTE_ARRAY"), "{text}");
}

#[test]
fn truncated_files_and_strangers_are_errors() {
    let good = ten(|_| {});
    let bytes = std::fs::read(&good.path).unwrap();
    for end in [0, 4, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&good.path, &bytes[..end]).unwrap();
        good.fails_with(&["fetch or copy it again"]);
    }
    std::fs::write(&good.path, b"<html>not found</html>").unwrap();
    good.fails_with(&["damaged or no image table"]);
    std::fs::remove_file(&good.path).unwrap();
    good.fails_with(&["cannot open"]);
}

/// The file at `path` with another footer: row groups as `change` leaves them, the columns' bytes as they are.
fn declare(path: &std::path::Path, change: impl FnOnce(&mut Vec<RowGroupMetaData>)) {
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).unwrap();
    let end = bytes.len() - 8;
    let footer = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) as usize;
    let mut builder = metadata.into_builder();
    let mut groups = builder.take_row_groups();
    change(&mut groups);
    let metadata = builder.set_row_groups(groups).build();
    let mut fresh = Vec::new();
    ParquetMetaDataWriter::new(&mut fresh, &metadata).finish().unwrap();
    std::fs::write(path, [&bytes[..end - footer], &fresh].concat()).unwrap();
}

#[test]
fn row_counts_that_do_not_fit_the_columns_are_errors() {
    let same = ten(|_| {});
    declare(&same.path, |_| {});
    assert_eq!(same.read().unwrap().len(), 480);
    for (rows, words) in [(3, "more values than the 3"), (5, "4 values where the row group declares 5")] {
        let case = ten(|_| {});
        declare(&case.path, |groups| {
            let group = groups[1].clone();
            groups[1] = group.into_builder().set_num_rows(rows).build().unwrap();
        });
        case.fails_with(&["row group 1", words]);
    }
}

/// Every byte of a small file flipped in turn: a result or an error, never a crash, never another number of rows.
#[test]
fn no_flipped_byte_crashes_the_reader() {
    let good = ten(|_| {});
    let bytes = std::fs::read(&good.path).unwrap();
    let mut errors = 0;
    for i in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut flipped = bytes.clone();
            flipped[i] ^= mask;
            std::fs::write(&good.path, &flipped).unwrap();
            match good.read() {
                // Ten images of three planes of 4x4.
                Ok(images) => assert_eq!(images.len(), 480, "byte {i} ^ {mask:#x}"),
                Err(error) => {
                    errors += 1;
                    assert!(error.to_string().contains("table.parquet"));
                }
            }
        }
    }
    assert!(errors > bytes.len(), "most flips are found: {errors} of {}", 3 * bytes.len());
}
