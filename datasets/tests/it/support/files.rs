//! Small parquet and PNG files made on the spot.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

/// One row: encoded image (or null) and label (or null).
pub(crate) type Row = (Option<Vec<u8>>, Option<i64>);

/// Writes a table in the hub's layout: `<image>` {bytes, path} with null paths, `<label>`; `group` rows a row group.
pub(crate) fn write_table(path: &Path, image: &str, label: &str, rows: &[Row], group: usize) {
    let schema = format!(
        "message schema {{ optional group {image} {{ optional binary bytes; optional binary path (UTF8); }} \
         optional int64 {label}; }}"
    );
    write_schema(path, &schema, rows, group);
}

/// Writes rows under a schema of the same three leaves, which may have other names.
pub(crate) fn write_schema(path: &Path, schema: &str, rows: &[Row], group: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let properties = Arc::new(WriterProperties::builder().build());
    let mut writer = SerializedFileWriter::new(File::create(path).unwrap(), schema, properties).unwrap();
    for rows in rows.chunks(group.max(1)) {
        let mut columns = writer.next_row_group().unwrap();
        let images: Vec<ByteArray> =
            rows.iter().filter_map(|(image, _)| image.clone()).map(ByteArray::from).collect();
        let levels: Vec<i16> = rows.iter().map(|(image, _)| if image.is_some() { 2 } else { 1 }).collect();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&images, Some(&levels), None).unwrap();
        column.close().unwrap();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&[], Some(&vec![1; rows.len()]), None).unwrap();
        column.close().unwrap();
        let labels: Vec<i64> = rows.iter().filter_map(|(_, label)| *label).collect();
        let levels: Vec<i16> = rows.iter().map(|(_, label)| i16::from(label.is_some())).collect();
        let mut column = columns.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&labels, Some(&levels), None).unwrap();
        column.close().unwrap();
        columns.close().unwrap();
    }
    writer.close().unwrap();
}

/// Encodes interleaved samples as PNG.
pub(crate) fn png(size: usize, colour: png::ColorType, depth: png::BitDepth, samples: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, size as u32, size as u32);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if colour == png::ColorType::Indexed {
        encoder.set_palette(vec![10, 20, 30, 40, 50, 60]);
    }
    encoder.write_header().unwrap().write_image_data(samples).unwrap();
    bytes
}

/// A colour PNG whose pixel (y, x) is (y, x, tag): no axis and no channel can be mistaken for another.
pub(crate) fn tagged_png(size: usize, tag: u8) -> Vec<u8> {
    let pixel = |i: usize| [(i / size) as u8, (i % size) as u8, tag];
    let samples: Vec<u8> = (0..size * size).flat_map(pixel).collect();
    png(size, png::ColorType::Rgb, png::BitDepth::Eight, &samples)
}

/// The planar pixels of [`tagged_png`].
pub(crate) fn tagged_planes(size: usize, tag: u8) -> Vec<u8> {
    let plane = |value: &dyn Fn(usize) -> u8| (0..size * size).map(value).collect::<Vec<u8>>();
    [plane(&|i| (i / size) as u8), plane(&|i| (i % size) as u8), vec![tag; size * size]].concat()
}

/// `n` good rows of `size` pixels, labels 0, 1, .. `classes` - 1, 0, ..; tags count up from `first`.
pub(crate) fn good_rows(n: usize, size: usize, classes: usize, first: usize) -> Vec<Row> {
    (0..n).map(|i| (Some(tagged_png(size, (first + i) as u8)), Some((i % classes) as i64))).collect()
}
