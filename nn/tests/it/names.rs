//! Networks by name.

use candle_core::Device;
use nn::layer::LayerSpec;
use nn::{Error, Network, NetworkSpec};

fn parameters(name: &str, classes: usize) -> usize {
    let spec = NetworkSpec::named(name, 32, classes).unwrap();
    Network::new(&spec, 0, &Device::Cpu).unwrap().layout().parameter_count()
}

/// ResNet-32 by hand: first convolution 3 * 16 * 9; stages of ten 3x3 convolutions, the first of stages two and three
/// from half the channels; norms 2 * (16 + 10 * (16 + 32 + 64)); classifier 64 * 10 + 10.
#[test]
fn parameter_counts() {
    let stages = 10 * 16 * 16 * 9 + (16 + 9 * 32) * 32 * 9 + (32 + 9 * 64) * 64 * 9;
    assert_eq!(parameters("resnet-32", 10), 432 + stages + 2272 + 650);
    // WRN-10-1: pre-activation norms of 16, 16, 16, 32, 32, 64 and a last one of 64; projections 16 x 32 and 32 x 64.
    let convolutions = 432 + 9 * (2 * 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64) + 16 * 32 + 32 * 64;
    assert_eq!(parameters("wrn-10-1", 100), convolutions + 2 * (3 * 16 + 2 * 32 + 2 * 64) + 64 * 100 + 100);
}

/// The forward pass of ResNet-32 is 0.139 GFLOP an image, two for each multiply-add.
#[test]
fn multiply_adds() {
    let count = NetworkSpec::named("resnet-32", 32, 10).unwrap().multiply_adds().unwrap();
    assert!((0.1375e9..0.1395e9).contains(&(2.0 * count as f64)), "{count}");
}

#[test]
fn valid_names() {
    for depth in [8, 14, 20, 32, 44, 56] {
        let spec = NetworkSpec::named(&format!("resnet-{depth}"), 32, 10).unwrap();
        assert_eq!(2 + 2 * spec.blocks.iter().sum::<usize>(), depth);
    }
    for (name, depth, widen) in
        [("wrn-10-1", 10, 1), ("wrn-16-4", 16, 4), ("wrn-28-10", 28, 10), ("wrn-40-2", 40, 2)]
    {
        let spec = NetworkSpec::named(name, 32, 100).unwrap();
        assert_eq!((4 + 2 * spec.blocks.iter().sum::<usize>(), spec.widen), (depth, widen), "{name}");
    }
}

#[test]
fn invalid_names_are_errors_that_repeat_the_name() {
    let names = [
        "",
        "resnet",
        "resnet-",
        "resnet-33",
        "resnet-0",
        "resnet--32",
        "resnet-32-1",
        "resnet-99999999999999999999999",
        "ResNet-32",
        "resnet 32",
        "wrn-28",
        "wrn-27-10",
        "wrn-4-1",
        "wrn-28-0",
        "wrn-28-65",
        "wrn-28-10-1",
        "wrn-28-ten",
        "vgg-16",
    ];
    for name in names {
        let error = NetworkSpec::named(name, 32, 10).unwrap_err();
        assert!(matches!(&error, Error::Spec { name: given, .. } if given == name), "{name}: {error}");
    }
    assert!(NetworkSpec::named("resnet-8", 0, 10).is_err());
    assert!(NetworkSpec::named("resnet-8", 32, 0).is_err());
}

#[test]
fn specifications_that_make_no_network_are_errors() {
    let good = NetworkSpec::named("resnet-8", 8, 10).unwrap();
    assert!(Network::new(&good, 0, &Device::Cpu).is_ok());
    for bad in [
        NetworkSpec { blocks: vec![], ..good.clone() },
        NetworkSpec { blocks: vec![1, 0], ..good.clone() },
        NetworkSpec { in_planes: 0, ..good.clone() },
        NetworkSpec { channels: 0, ..good.clone() },
        NetworkSpec { widen: 0, ..good.clone() },
        NetworkSpec { members: Some(0), ..good.clone() },
        // Their squares and products would wrap.
        NetworkSpec { image: (1 << 63) + 1, ..good.clone() },
        NetworkSpec { classes: usize::MAX, ..good.clone() },
        NetworkSpec { members: Some(1 << 40), ..good.clone() },
        NetworkSpec { widen: 1 << 60, ..good.clone() },
        NetworkSpec { in_planes: usize::MAX, widen: usize::MAX, ..good.clone() },
        NetworkSpec { blocks: vec![1; 200], ..good.clone() },
        NetworkSpec { pixel_mean: vec![0.0; 2], ..good.clone() },
        NetworkSpec { pixel_std: vec![1.0, 0.0, 1.0], ..good.clone() },
        NetworkSpec { pixel_std: vec![1.0, f32::NAN, 1.0], ..good.clone() },
    ] {
        assert!(matches!(Network::new(&bad, 0, &Device::Cpu), Err(Error::Spec { .. })), "{bad:?}");
    }
}

#[test]
fn layers_that_are_too_large_are_errors() {
    let good = LayerSpec {
        channels_in: 1,
        channels_out: 1,
        kernel: 3,
        stride: 1,
        image: 4,
        members: None,
        linear: false,
    };
    assert!(good.build(0, &Device::Cpu).is_ok());
    for bad in [
        LayerSpec { image: (1 << 63) + 1, ..good },
        LayerSpec { kernel: (1 << 62) + 1, ..good },
        LayerSpec { channels_out: usize::MAX, ..good },
    ] {
        assert!(matches!(bad.build(0, &Device::Cpu), Err(Error::Spec { .. })), "{bad:?}");
    }
}

/// Equal seeds give equal networks, others others.
#[test]
fn a_seed_fixes_the_parameters() {
    let spec = NetworkSpec::named("resnet-8", 8, 10).unwrap();
    let state = |seed| Network::new(&spec, seed, &Device::Cpu).unwrap().state().unwrap();
    assert_eq!(state(1), state(1));
    assert_ne!(state(1), state(2));
}
