//! Official PyTorch checkpoints, whole and damaged.
//!
//! The checkpoint is the harness's oracle case `checkpoint-preresnet`: a pre-activation network with one block a stage,
//! 8 planes and 10 classes, written by PyTorch.

use std::path::{Path, PathBuf};

use candle_core::Device;
use nn::official::{STATE_DICT_KEY, read_pth};
use nn::{Error, Family, Network, NetworkSpec, Shortcut};
use proptest::prelude::*;

use crate::small::{self, cases};

fn checkpoint() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../harness/tests/data/oracle/checkpoint-preresnet/best_acc1.pth.tar")
}

#[test]
fn a_checkpoint_fits_its_network() {
    let tensors = read_pth(&checkpoint(), STATE_DICT_KEY).unwrap();
    let base = small::spec(Family::PreResNet, Shortcut::Projection, 3, 32);
    let network = Network::new(&NetworkSpec { in_planes: 8, classes: 10, ..base }, 0, &Device::Cpu).unwrap();
    network.load_state(&tensors).unwrap();
    assert!(tensors.iter().all(|t| t.values.iter().all(|v| v.is_finite())));
    assert!(tensors.is_sorted_by(|a, b| a.name < b.name));
    let first = tensors.iter().find(|t| t.name == "backbone.layers.0.conv1.weight").unwrap();
    assert_eq!(first.shape, [8, 3, 3, 3]);
    assert_eq!(network.state().unwrap()[0].values, first.values);
}

#[test]
fn what_is_no_checkpoint_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(read_pth(&folder.path().join("none"), STATE_DICT_KEY).unwrap_err(), Error::Io { .. }));
    let wrong_key = read_pth(&checkpoint(), "no_such_key").unwrap_err().to_string();
    assert!(wrong_key.contains("no_such_key"), "{wrong_key}");
    let path = folder.path().join("best.pth.tar");
    let whole = std::fs::read(checkpoint()).unwrap();
    let foreign: [&[u8]; 6] =
        [b"", b"hello", &[0; 1000], b"PK\x05\x06", &[0x80, 2, b'}', b'.'], &whole[30..]];
    for bytes in foreign {
        std::fs::write(&path, bytes).unwrap();
        let error = read_pth(&path, STATE_DICT_KEY).unwrap_err().to_string();
        assert!(error.contains("best.pth.tar"), "{error}");
    }
    // A directory where a file should be.
    assert!(read_pth(folder.path(), STATE_DICT_KEY).is_err());
}

/// Cut at any length the archive's directory, which comes last, is gone.
#[test]
fn truncated_checkpoints_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("best.pth.tar");
    let whole = std::fs::read(checkpoint()).unwrap();
    for length in (0..whole.len()).step_by(2500).chain(whole.len() - 40..whole.len()) {
        std::fs::write(&path, &whole[..length]).unwrap();
        assert!(read_pth(&path, STATE_DICT_KEY).is_err(), "{length} of {} bytes", whole.len());
    }
}

/// One byte of the pickle each, found by random damage: the archive's checksum does not fit, and without it the tensors are
/// described by too few values.
#[test]
fn short_tuples_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("best.pth.tar");
    let whole = std::fs::read(checkpoint()).unwrap();
    for (at, value) in [(477, 135), (821, 99), (2036, 128)] {
        let mut bytes = whole.clone();
        bytes[at] = value;
        std::fs::write(&path, &bytes).unwrap();
        let error = read_pth(&path, STATE_DICT_KEY).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{at}: {error}");
    }
}

/// Where the damage does most: the pickle at the start and the directory at the end.
fn places() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 0..12_000_usize, 2 => 180_000..185_564_usize, 1 => 0..185_564_usize]
}

proptest! {
    #![proptest_config(cases(1500))]

    /// Damaged bytes either hit nothing that is read or are an error; they never panic.
    #[test]
    fn damaged_checkpoints_do_not_panic(damage in proptest::collection::vec((places(), any::<u8>()), 1..4)) {
        let mut bytes = std::fs::read(checkpoint()).unwrap();
        for (at, value) in damage {
            bytes[at] = value;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("best.pth.tar");
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(tensors) = read_pth(&path, STATE_DICT_KEY) {
            for tensor in tensors {
                prop_assert_eq!(tensor.values.len(), tensor.shape.iter().product::<usize>());
            }
        }
    }
}
