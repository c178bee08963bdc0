//! Random damage to everything that the harness reads: an error or a result, never a panic. Draws are the same in every run;
//! each test says how many executions it is.

use std::fs;

use candle_core::Device;
use harness::config::{self, Override};
use harness::experiments::Experiment;
use harness::train::checkpoint::Checkpoints;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};

use crate::checkpoints::training;

pub(crate) fn cases(count: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(8);
    ProptestConfig { cases: count, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

/// Changes to a text.
pub(crate) type Edits = Vec<(f64, usize, String)>;

/// A change to a text: at a place (a fraction of its length), so many bytes give way to others.
pub(crate) fn edits() -> impl Strategy<Value = Edits> {
    let pieces = prop::sample::select(vec![
        "",
        "\n",
        "=",
        "[",
        "]",
        "[[",
        "'",
        "\"",
        "\"\"\"",
        ".",
        ",",
        "#",
        "{",
        "}",
        "-",
        "nan",
        "inf",
        "-1",
        "0",
        "1e400",
        "9223372036854775807",
        "9223372036854775808",
        "0xffff",
        "1979-05-27",
        "true",
        "\0",
        "\u{feff}",
        "é",
        "teacher",
        "teacher.lr",
        "[teacher]",
        "presets",
        "[presets.x]",
        "method",
        "a.b.c.d",
        "= 1",
        "data = 3",
        "seeds = {a = 1}",
    ]);
    let piece = prop_oneof![pieces.prop_map(str::to_owned), "\\PC{0,6}"];
    prop::collection::vec((0.0..1.0_f64, 0..12_usize, piece), 1..6)
}

pub(crate) fn edited(text: &str, edits: &[(f64, usize, String)]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for (place, gone, new) in edits {
        let start = (place * bytes.len() as f64) as usize;
        let end = bytes.len().min(start + gone);
        bytes.splice(start..end, new.bytes());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

proptest! {
    #![proptest_config(cases(3000))]

    /// 3000 executions on each experiment's text.
    #[test]
    fn experiment_files(which in 0..4_usize, edits in edits(), preset in prop::option::of("paper|laptop|smoke|\\PC{0,4}")) {
        let mut experiment = Experiment::built_in().swap_remove(which);
        experiment.text = edited(&experiment.text, &edits);
        if let Err(error) = config::resolve(&experiment, preset.as_deref(), &[]) {
            let text = format!("{error:#}");
            prop_assert!(!text.is_empty());
        }
    }

}

proptest! {
    #![proptest_config(cases(1000))]

    /// 1000 executions of one to three `--set`.
    #[test]
    fn overrides(set in prop::collection::vec("(teacher|student|data|method|members|seeds|x)(\\.(lr|kd|schedule|epochs|\\PC)){0,3}=\\PC{0,12}", 1..4)) {
        let experiment = Experiment::find("quick").unwrap();
        let set: Vec<Override> = set.iter().filter_map(|text| Override::set(text).ok()).collect();
        let _ = config::resolve(&experiment, None, &set);
    }
}

/// 400 executions: bytes changed or cut in a checkpoint, most of them in its header.
#[test]
fn checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let of = || Checkpoints::new(folder.path().to_owned(), toml::Table::new());
    of().save(&training(1)).unwrap();
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let whole = fs::read(&file).unwrap();
    let place = prop_oneof![4 => 0..12_000_usize, 1 => 0..whole.len()];
    let changes = prop::collection::vec((place, 1..=255_u8), 1..4);
    let undisturbed = training(1).network.state().unwrap();
    let test = |(changes, keep): (Vec<(usize, u8)>, Option<f64>)| {
        let mut bytes = whole.clone();
        for (at, change) in changes {
            bytes[at] ^= change;
        }
        if let Some(keep) = keep {
            bytes.truncate((keep * bytes.len() as f64) as usize);
        }
        fs::write(&file, &bytes).unwrap();
        let mut other = training(2);
        // What the hash does not cover is how the header is written.
        if let Ok(true) = of().restore(&mut other, &Device::Cpu, |_| ()) {
            prop_assert!(other.network.state().unwrap() == undisturbed);
        }
        Ok(())
    };
    TestRunner::new(cases(400)).run(&(changes, prop::option::of(0.0..1.0_f64)), test).unwrap();
}

/// What grows without end in a file of a few bytes: names in names, tables in tables.
#[test]
fn deep_files_are_errors() {
    let base = Experiment::find("quick").unwrap();
    for text in [
        format!("{}=1", ["a"; 100_000].join(".")),
        format!("[{}]", ["a"; 100_000].join(".")),
        format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("a = {}", "{a = ".repeat(100_000)),
    ] {
        let experiment = Experiment { text: format!("{}\n{text}\n", base.text), ..base.clone() };
        assert!(config::resolve(&experiment, None, &[]).is_err());
        if let Ok(set) = Override::set(&text) {
            assert!(config::resolve(&base, None, &[set]).is_err());
        }
    }
}
