//! What a BatchEnsemble is: M plain networks that share their slow weights (Wen et al. 2020; protocol, BatchEnsemble
//! layers).

use candle_core::Device;
use nn::{Mode, Network, NetworkSpec};

use crate::small::{self, values};

fn assert_close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= 1e-5 * e.abs().max(1.0), "{what}: {f} {e}");
    }
}

/// Also that logits are member-major: (M, B, K) holds member j's rows at index j.
#[test]
fn each_member_is_a_plain_network_in_eval_mode() {
    for (family, shortcut) in small::kinds() {
        let spec = NetworkSpec { members: Some(3), ..small::spec(family, shortcut, 2, 7) };
        let ensemble = small::network(&spec, 4);
        let images = small::images(&spec, 4, 4).as_detached_tensor();
        let logits = ensemble.frozen_logits(&images, Mode::Eval).unwrap();
        assert_eq!(logits.dims(), [3, 4, spec.classes]);
        for member in 0..3 {
            let plain = ensemble.member(member).unwrap();
            assert_eq!(plain.members(), 1);
            let plain = plain.frozen_logits(&images, Mode::Eval).unwrap();
            let what = format!("{family:?} {shortcut:?} member {member}");
            assert_close(&values(&logits.get(member).unwrap()), &values(&plain), &what);
        }
        let (first, second) = (values(&logits.get(0).unwrap()), values(&logits.get(1).unwrap()));
        assert!(
            first.iter().zip(&second).any(|(a, b)| (a - b).abs() > 1e-2),
            "the members are different networks"
        );
        assert!(ensemble.member(3).is_err());
    }
}

#[test]
fn the_member_of_a_plain_network_is_a_copy() {
    for (family, shortcut) in small::kinds() {
        let plain = small::network(&small::spec(family, shortcut, 2, 7), 4);
        assert_eq!(plain.member(0).unwrap().state().unwrap(), plain.state().unwrap());
    }
}

#[test]
fn fast_weights_of_one_give_the_plain_network() {
    for (family, shortcut) in small::kinds() {
        let spec = small::spec(family, shortcut, 2, 7);
        let plain = small::network(&spec, 6);
        let ensemble = small::network(&spec.clone().batch_ensemble(2), 6);
        let mut state = ensemble.state().unwrap();
        let of_plain = plain.state().unwrap();
        for tensor in &mut state {
            let name = tensor.name.replace("ensemble_bias", "bias");
            if let Some(from) = of_plain.iter().find(|t| t.name == name) {
                let copies = tensor.values.len() / from.values.len();
                tensor.values = from.values.repeat(copies);
            } else {
                tensor.values.fill(1.0);
            }
        }
        ensemble.load_state(&state).unwrap();
        let images = small::images(&spec, 5, 6).as_detached_tensor();
        // In train mode the statistics of twice the same rows are those of the rows.
        for mode in [Mode::Eval, Mode::Train { groups: 1 }, Mode::Train { groups: 2 }] {
            let expected = values(&plain.frozen_logits(&images, mode).unwrap());
            let found = ensemble.frozen_logits(&images, mode).unwrap();
            for member in 0..2 {
                let what = format!("{family:?} {shortcut:?} {mode:?} member {member}");
                assert_close(&values(&found.get(member).unwrap()), &expected, &what);
            }
        }
    }
}

/// Protocol: r and s start as N(1, 0.5^2), a BatchEnsemble's biases as 0; slow weights and norms are shared.
#[test]
fn fresh_fast_weights() {
    let spec = NetworkSpec::named("resnet-8", 8, 10).unwrap().batch_ensemble(8);
    let network = Network::new(&spec, 3, &Device::Cpu).unwrap();
    let mut fast = Vec::new();
    for tensor in network.state().unwrap() {
        if tensor.name.ends_with("alpha_be") || tensor.name.ends_with("gamma_be") {
            assert_eq!(tensor.shape[0], 8, "{}", tensor.name);
            fast.extend(tensor.values);
        } else if tensor.name.ends_with("ensemble_bias") {
            assert_eq!(tensor.shape, [8, 10]);
            assert!(tensor.values.iter().all(|v| *v == 0.0));
        }
    }
    let count = fast.len() as f32;
    let mean = fast.iter().sum::<f32>() / count;
    let std = (fast.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / count).sqrt();
    // Four standard errors.
    assert!((mean - 1.0).abs() < 4.0 * 0.5 / count.sqrt(), "{mean} of {count}");
    assert!((std - 0.5).abs() < 4.0 * 0.5 / (2.0 * count).sqrt(), "{std} of {count}");
}
