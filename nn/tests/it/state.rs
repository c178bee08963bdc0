//! Tensors by name, to memory and safetensors files and back.

use std::path::Path;

use candle_core::Device;
use nn::state::{read_safetensors, write_safetensors};
use nn::{Error, NamedTensor, Network, NetworkSpec};
use proptest::prelude::*;

use crate::small::{self, cases};

fn ensemble(seed: u64) -> Network {
    let (family, shortcut) = small::kinds()[3];
    small::network(&NetworkSpec { members: Some(2), ..small::spec(family, shortcut, 2, 6) }, seed)
}

#[test]
fn a_saved_network_loads_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, again) = (folder.path().join("model.safetensors"), folder.path().join("again.safetensors"));
    let (one, other) = (ensemble(1), ensemble(2));
    assert_ne!(one.state().unwrap(), other.state().unwrap());
    one.save(&path).unwrap();
    other.load(&path).unwrap();
    assert_eq!(one.state().unwrap(), other.state().unwrap());
    other.save(&again).unwrap();
    assert_eq!(
        std::fs::read(&path).unwrap(),
        std::fs::read(&again).unwrap(),
        "equal tensors give equal bytes"
    );
}

/// In the state's own order or any other; counters and pixel statistics of official checkpoints are passed over.
#[test]
fn official_companions_are_passed_over() {
    let network = ensemble(1);
    let mut state = network.state().unwrap();
    state.reverse();
    for name in ["backbone.layers.1.norm1.num_batches_tracked", "pixel_mean", "pixel_std"] {
        state.push(NamedTensor { name: name.to_owned(), shape: vec![1], values: vec![3.0] });
    }
    let other = ensemble(2);
    other.load_state(&state).unwrap();
    assert_eq!(network.state().unwrap(), other.state().unwrap());
}

/// What is wrong is listed in full, and nothing is loaded.
#[test]
fn tensors_that_do_not_fit() {
    type Change = fn(&mut Vec<NamedTensor>);
    let changes: [(Change, &[&str]); 6] = [
        (|s| drop(s.remove(0)), &["`backbone.layers.0.conv1.weight` [5, 3, 3, 3] is missing"]),
        (|s| s[0].name.push('x'), &["conv1.weight` [5, 3, 3, 3] is missing", "conv1.weightx` is not part"]),
        (|s| s[0].shape.swap(0, 1), &["should be [5, 3, 3, 3] and is [3, 5, 3, 3]"]),
        (|s| s[0].values.truncate(3), &["`backbone.layers.0.conv1.weight`"]),
        (|s| s.push(s[0].clone()), &["`backbone.layers.0.conv1.weight` is there twice"]),
        (Vec::clear, &["is missing", "more"]),
    ];
    let network = ensemble(1);
    let before = network.state().unwrap();
    for (change, parts) in changes {
        let mut state = ensemble(2).state().unwrap();
        change(&mut state);
        let error = network.load_state(&state).unwrap_err();
        assert!(matches!(error, Error::State(_)));
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(network.state().unwrap(), before);
    }
    assert!(network.set_buffers(&[0.0]).is_err());
}

#[test]
fn files_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let network = ensemble(1);
    assert!(matches!(network.load(&path).unwrap_err(), Error::Io { .. }));
    assert!(matches!(network.save(Path::new("/nowhere/at/all")).unwrap_err(), Error::Io { .. }));
    std::fs::write(&path, "no safetensors").unwrap();
    let error = network.load(&path).unwrap_err();
    assert!(error.to_string().contains("model.safetensors"), "{error}");
    let (family, shortcut) = small::kinds()[0];
    let other = Network::new(&small::spec(family, shortcut, 1, 6), 0, &Device::Cpu).unwrap();
    other.save(&path).unwrap();
    let error = network.load(&path).unwrap_err().to_string();
    assert!(error.contains("model.safetensors") && error.contains("is missing"), "{error}");
    let crooked = NamedTensor { name: "a".to_owned(), shape: vec![2], values: vec![1.0] };
    assert!(write_safetensors(&[crooked], &path).is_err());
}

#[test]
fn other_types_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    let tensor = candle_core::Tensor::zeros(2, candle_core::DType::F16, &Device::Cpu).unwrap();
    tensor.save_safetensors("half", &path).unwrap();
    let error = read_safetensors(&path).unwrap_err().to_string();
    assert!(error.contains("F16") && error.contains("`half`"), "{error}");
}

proptest! {
    #![proptest_config(cases(200))]

    /// A damaged file either still reads as something or is an error; it never panics.
    #[test]
    fn damaged_files_do_not_panic(at in 0..4000_usize, value in any::<u8>(), keep in 0.0..1.5_f64) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let network = ensemble(1);
        network.save(&path).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        let len = bytes.len();
        bytes[at % len] = value;
        bytes.truncate((len as f64 * keep) as usize);
        std::fs::write(&path, &bytes).unwrap();
        let loaded = ensemble(2).load(&path);
        if keep < 1.0 && bytes.len() < len {
            prop_assert!(loaded.is_err());
        }
    }
}
