//! The recorded cases of the official implementation, and the proof that a case can fail.

use std::path::{Path, PathBuf};

use candle_core::Device;
use harness::oracle;
use nn::Precision;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/oracle")
}

#[test]
fn every_case_agrees() {
    let outcomes = oracle::run(&cases(), &Device::Cpu, Precision::F32).unwrap();
    assert_eq!(outcomes.len(), 26);
    let failed: Vec<_> = outcomes.iter().filter(|outcome| !outcome.passed()).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A copy of one case with `change` applied to its two files.
fn altered(case: &str, change: impl FnOnce(&Path)) -> oracle::Outcome {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(cases().join(case)).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    change(folder.path());
    oracle::run(folder.path(), &Device::Cpu, Precision::F32).unwrap().remove(0)
}

fn edit_json(folder: &Path, from: &str, to: &str) {
    let path = folder.join("case.json");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn an_altered_number_fails() {
    let scalar =
        altered("metrics-c10", |folder| edit_json(folder, "0.6316666603088379", "0.6326666603088379"));
    assert!(!scalar.passed(), "{scalar:?}");
    // The last byte of the file is the sign and exponent of an expected or given float.
    let tensor = altered("train-be-kd", |folder| {
        let path = folder.join("tensors.safetensors");
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 0x80;
        std::fs::write(path, bytes).unwrap();
    });
    assert!(!tensor.passed(), "{tensor:?}");
}

#[test]
fn what_cannot_be_checked_fails() {
    let kind = altered("schedule-wrn", |folder| edit_json(folder, "lr_schedule", "lr_shedule"));
    assert!(kind.result.unwrap_err().contains("lr_shedule"));
    let scalar = altered("metrics-c10", |folder| edit_json(folder, "\"acc\"", "\"accuracy\""));
    assert!(scalar.result.unwrap_err().contains("accuracy"));
    let tensor = altered("perturb-tau1", |folder| {
        let path = folder.join("tensors.safetensors");
        let text = std::fs::read(&path).unwrap();
        let at = text.windows(4).position(|w| w == b"in.w").unwrap();
        let mut bytes = text.clone();
        bytes[at..at + 4].copy_from_slice(b"in.v");
        std::fs::write(path, bytes).unwrap();
    });
    assert!(tensor.result.unwrap_err().contains("in.w"));
    let empty = tempfile::tempdir().unwrap();
    assert!(oracle::run(empty.path(), &Device::Cpu, Precision::F32).is_err());
}
