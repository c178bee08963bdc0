//! NaN and infinity go through a network as through the reference: nothing is swallowed, nothing else is touched.

use candle_core::{Device, Tensor};
use nn::{Mode, NetworkSpec};

use crate::reference::Reference;
use crate::small::{self, bits, values, wide};

fn networks() -> Vec<NetworkSpec> {
    let all = small::kinds().into_iter().flat_map(|(family, shortcut)| {
        [None, Some(2)].map(|members| NetworkSpec { members, ..small::spec(family, shortcut, 2, 6) })
    });
    all.collect()
}

/// Logits (M, B, K) of three images, the second of which has `pixel` in its middle.
fn logits(spec: &NetworkSpec, pixel: f32, mode: Mode) -> (Vec<f32>, Vec<f64>) {
    let network = small::network(spec, 3);
    let mut images = values(&small::images(spec, 3, 3));
    images[3 * 36 + 36 + 2 * 6 + 3] = pixel;
    let expected = Reference::of(&network).pass(&wide(&images), mode).logits;
    let images = Tensor::from_vec(images, (3, 3, 6, 6), &Device::Cpu).unwrap();
    (values(&network.frozen_logits(&images, mode).unwrap()), expected)
}

#[test]
fn a_nan_pixel_makes_its_own_images_logits_nan() {
    for spec in networks() {
        let (found, _) = logits(&spec, f32::NAN, Mode::Eval);
        let (clean, _) = logits(&spec, 0.5, Mode::Eval);
        for (row, (found, clean)) in found.chunks(spec.classes).zip(clean.chunks(spec.classes)).enumerate() {
            if row % 3 == 1 {
                assert!(found.iter().all(|v| v.is_nan()), "{spec:?}: {found:?}");
            } else {
                assert_eq!(bits(found), bits(clean), "{spec:?}, row {row}");
            }
        }
    }
}

#[test]
fn a_nan_pixel_makes_all_logits_of_its_group_nan_in_training() {
    for spec in networks() {
        let (found, expected) = logits(&spec, f32::NAN, Mode::Train { groups: 3 });
        let nan = |nan: bool| if nan { 1 } else { 0 };
        let found: Vec<u8> = found.iter().map(|v| nan(v.is_nan())).collect();
        let expected: Vec<u8> = expected.iter().map(|v| nan(v.is_nan())).collect();
        assert_eq!(found, expected, "{spec:?}");
        assert_eq!(expected.iter().map(|v| usize::from(*v)).sum::<usize>() * 3, expected.len());
    }
}

/// Signs of the infinities depend on the weights; the reference knows them.
#[test]
fn an_infinite_pixel_gives_what_the_reference_gives() {
    let kind = |value: f64| match value {
        v if v.is_nan() => "nan",
        v if v == f64::INFINITY => "inf",
        v if v == f64::NEG_INFINITY => "-inf",
        _ => "finite",
    };
    for spec in networks() {
        for pixel in [f32::INFINITY, f32::NEG_INFINITY] {
            let (found, expected) = logits(&spec, pixel, Mode::Eval);
            let found: Vec<_> = found.iter().map(|v| kind(f64::from(*v))).collect();
            let expected: Vec<_> = expected.iter().map(|v| kind(*v)).collect();
            assert_eq!(found, expected, "{spec:?}");
            assert!(expected.iter().any(|v| *v != "finite"));
        }
    }
}
