//! Random damage to images and tables: pixels or an error, never a panic, never more memory than each test says. Draws are
//! the same in every run; each test says how many executions it is.

use std::panic;

use datasets::decode::decode;
use datasets::image_table::{Columns, ImageTable};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use tempfile::TempDir;

use crate::files::{good_rows, tagged_planes, tagged_png, write_table};
use crate::{alone, measured};

/// A place (a fraction of the length), how many bytes give way there, and what comes in their stead.
type Edit = (f64, usize, Vec<u8>);

fn edited(whole: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for (place, gone, new) in edits {
        let start = (place * bytes.len() as f64) as usize;
        let end = bytes.len().min(start + gone);
        bytes.splice(start..end, new.iter().copied());
    }
    bytes
}

/// Runs `test` on `count` draws: mostly a byte or a few changed, sometimes put in or taken out.
fn check(count: u32, test: impl Fn(Vec<Edit>) -> Result<(), TestCaseError>) {
    let extremes = prop::sample::select(vec![vec![0xff_u8; 4], vec![0; 4], vec![0x7f, 0xff, 0xff, 0xff]]);
    let byte = (0.0..1.0_f64, any::<u8>()).prop_map(|(place, byte)| (place, 1, vec![byte]));
    let word = (0.0..1.0_f64, extremes).prop_map(|(place, word)| (place, 4, word));
    let other = (0.0..1.0_f64, 0..20_usize, prop::collection::vec(any::<u8>(), 0..20));
    let edits = prop::collection::vec(prop_oneof![4 => byte, 2 => word, 1 => other], 1..4);
    let config =
        Config { cases: count, rng_seed: RngSeed::Fixed(8), failure_persistence: None, ..Config::default() };
    // The reader's panics become errors: their backtraces, which take memory, are not wanted.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let outcome = TestRunner::new(config).run(&edits, test);
    panic::set_hook(hook);
    outcome.unwrap();
}

/// A PNG whose chunks' checksums are made right again, so that damage gets past them.
pub(crate) fn with_checksums(mut png: Vec<u8>) -> Vec<u8> {
    let mut at = 8;
    while let Some(length) = png.get(at..at + 4) {
        let length = length.iter().fold(0_usize, |all, byte| (all << 8) | usize::from(*byte));
        let Some(end) = (at + 8).checked_add(length).filter(|end| end + 4 <= png.len()) else { break };
        let sum = crc(&png[at + 4..end]).to_be_bytes();
        png[end..end + 4].copy_from_slice(&sum);
        at = end + 4;
    }
    png
}

/// CRC-32 as PNG has it: the reflected polynomial 0xedb88320.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 },
        )
    })
}

/// 6000 executions each on a PNG, the same with right checksums, and three JPEGs: 30 000, in 1 MiB of memory.
#[test]
fn images() {
    let _alone = alone();
    let png = tagged_png(8, 9);
    assert_eq!(with_checksums(png.clone()), png);
    let mut planes = vec![0; 3 * 8 * 8];
    decode(&png, 8, &mut planes).unwrap();
    assert_eq!(planes, tagged_planes(8, 9));
    let jpegs = [
        &include_bytes!("../data/quadrants.jpg")[..],
        include_bytes!("../data/quadrants-progressive-420.jpg"),
        include_bytes!("../data/grey-ramp.jpg"),
    ];
    let decodes = |bytes: &[u8], size: usize| {
        let mut out = vec![0; 3 * size * size];
        let (result, memory) = measured(|| decode(bytes, size, &mut out));
        prop_assert!(memory <= 1 << 20, "{} bytes: {:?}", memory, result);
        if let Err(error) = result {
            let text = error.to_string();
            prop_assert!(!text.is_empty());
        }
        Ok(())
    };
    check(6000, |edits| decodes(&edited(&png, &edits), 8));
    check(6000, |edits| decodes(&with_checksums(edited(&png, &edits)), 8));
    for jpeg in jpegs {
        check(6000, |edits| decodes(&edited(jpeg, &edits), 16));
    }
}

/// 4000 executions on a small table, in 16 MiB of memory; a table that can still be read has all of its ten rows.
#[test]
fn tables() {
    let _alone = alone();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("table.parquet");
    write_table(&path, "img", "label", &good_rows(10, 4, 3, 0), 4);
    let whole = std::fs::read(&path).unwrap();
    check(4000, |edits| {
        std::fs::write(&path, edited(&whole, &edits)).unwrap();
        let (read, memory) = measured(|| {
            let table = ImageTable::open(&path, Columns { image: "img", label: "label", classes: 3 })?;
            let rows: Vec<usize> = (0..table.labels().len()).collect();
            table.images(&rows, 4, 1, &|_| {})
        });
        prop_assert!(memory <= 16 << 20, "{} bytes: {:?}", memory, read);
        match read {
            Ok(images) => prop_assert_eq!(images.len(), 10 * 48),
            Err(error) => {
                let text = error.to_string();
                prop_assert!(text.contains("table.parquet"), "{}", text);
            }
        }
        Ok(())
    });
}
