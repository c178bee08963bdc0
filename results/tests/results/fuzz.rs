//! Random damage to a record's files: an error that names the file, or a value of the right shape; never a panic. Draws
//! are the same in every run; each test says how many executions it is.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use results::analysis::{self, Analysis, TEACHERS};
use results::record::{
    EpochRow, LogRow, METRICS, PREDICTIONS, Predictions, RUN, Record, RunInfo, TIMING, TimingRow,
};
use results::table::{Format, Table};

use crate::made::{self, Made};

/// A place (a fraction of the length), how many bytes give way there, and what comes in their stead.
type Edit = (f64, usize, Vec<u8>);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let text = prop::sample::select(vec![
        "",
        "\n",
        ",",
        "\"",
        "=",
        "[",
        "]",
        "{",
        "-1",
        "nan",
        "inf",
        "1e400",
        "0",
        "9223372036854775808",
        "18446744073709551615",
    ]);
    let bytes =
        prop_oneof![text.prop_map(|text| text.as_bytes().to_vec()), prop::collection::vec(any::<u8>(), 0..9)];
    prop::collection::vec((0.0..1.0_f64, 0..9_usize, bytes), 1..5)
}

/// A record, and what it was before its files were edited.
struct Sample {
    out: tempfile::TempDir,
    path: PathBuf,
    whole: Vec<u8>,
}

impl Sample {
    /// A record whose file `name` will be edited.
    fn new(name: &str) -> Self {
        let out = tempfile::tempdir().unwrap();
        let path = Made::new("quick", "smoke", "be-kd", 2).write(out.path()).dir().join(name);
        let whole = fs::read(&path).unwrap();
        Self { out, path, whole }
    }

    /// Edits the file within its first `most` bytes.
    fn edit(&self, edits: &[Edit], most: usize) {
        let mut bytes = self.whole.clone();
        for (place, gone, new) in edits {
            let start = (place * bytes.len().min(most) as f64) as usize;
            let end = bytes.len().min(start + gone);
            bytes.splice(start..end, new.iter().copied());
        }
        fs::write(&self.path, bytes).unwrap();
    }
}

/// Runs `test` on `count` draws.
fn check(count: u32, test: impl Fn(Vec<Edit>) -> Result<(), TestCaseError>) {
    let config =
        Config { cases: count, rng_seed: RngSeed::Fixed(8), failure_persistence: None, ..Config::default() };
    TestRunner::new(config).run(&edits(), test).unwrap();
}

/// What the error says names the file.
fn names<T>(read: results::Result<T>, file: &str) -> Result<(), TestCaseError> {
    if let Err(error) = read {
        let text = error.to_string();
        prop_assert!(text.contains(file), "{}", text);
    }
    Ok(())
}

/// 2000 executions.
#[test]
fn descriptions() {
    let sample = Sample::new(RUN);
    check(2000, |edits| {
        sample.edit(&edits, usize::MAX);
        let _ = Record::open(sample.path.parent().unwrap());
        names(RunInfo::read(&sample.path), RUN)
    });
}

/// 2000 executions on each log.
#[test]
fn logs() {
    let sample = Sample::new(METRICS);
    check(2000, |edits| {
        sample.edit(&edits, usize::MAX);
        names(EpochRow::read_all(&sample.path), METRICS)
    });
    let sample = Sample::new(TIMING);
    check(2000, |edits| {
        sample.edit(&edits, usize::MAX);
        names(TimingRow::read_all(&sample.path), TIMING)
    });
}

/// 2000 executions in the header (8 bytes of length, then JSON), 2000 anywhere: what is read of an edited file are the
/// numbers that were written, but where the edit took the checksum.
#[test]
fn predictions() {
    let sample = Sample::new(PREDICTIONS);
    let written = Predictions::read(&sample.path).unwrap();
    for most in [400, usize::MAX] {
        check(2000, |edits| {
            sample.edit(&edits, most);
            let read = Predictions::read(&sample.path);
            if let Ok(Predictions { val, test }) = &read {
                let file = fs::read(&sample.path).unwrap();
                if file.windows(6).any(|window| window == b"crc32c") {
                    prop_assert_eq!(&val.logits, &written.val.logits);
                    prop_assert_eq!(&test.logits, &written.test.logits);
                }
                for split in [val, test] {
                    prop_assert_eq!(split.logits.len(), split.m * split.n * split.k);
                    let _ = split.probs();
                }
            }
            names(read, PREDICTIONS)
        });
    }
}

/// 2000 executions in the header, 2000 anywhere.
#[test]
fn analyses() {
    let out = tempfile::tempdir().unwrap();
    let path = analysis::path(out.path(), TEACHERS, 1);
    made::teachers_analysis(1).write(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let sample = Sample { out, path, whole };
    for most in [2000, usize::MAX] {
        check(2000, |edits| {
            sample.edit(&edits, most);
            names(Analysis::read(&sample.path), "teachers.seed-1.safetensors")
        });
    }
}

/// 300 executions of a table over a record whose predictions are edited.
#[test]
fn tables() {
    let sample = Sample::new(PREDICTIONS);
    check(300, |edits| {
        sample.edit(&edits, usize::MAX);
        if let Ok(table) = Table::build(sample.out.path()) {
            for format in [Format::Term, Format::Csv, Format::Md, Format::Latex] {
                prop_assert!(!table.render(format).is_empty());
            }
        }
        Ok(())
    });
}
