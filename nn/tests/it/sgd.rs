//! The optimiser against a scalar loop in the order of PyTorch's SGD, in f64.

use candle_core::{Device, Tensor};
use nn::{Group, Network, NetworkSpec, Sgd, SgdSettings};
use proptest::prelude::*;

use crate::small::{self, bits, cases, draws, normals, values, wide};

fn ensemble() -> Network {
    let (family, shortcut) = small::kinds()[1];
    small::network(&NetworkSpec { members: Some(2), ..small::spec(family, shortcut, 2, 4) }, 1)
}

/// torch.optim.SGD, one tensor element after the other: the decay joins the gradient, the gradient the momentum (which
/// starts as the first gradient), and Nesterov looks ahead by one more momentum.
fn torch_sgd(
    network: &Network,
    params: &mut [f64],
    momentum: &mut [f64],
    gradient: &[f64],
    settings: SgdSettings,
    rates: (f64, f64),
) {
    for entry in network.layout().entries().iter().filter(|entry| entry.group != Group::Buffer) {
        let is_fast = entry.name.ends_with("alpha_be") || entry.name.ends_with("gamma_be");
        let (rate, decay) =
            if is_fast { (rates.1, settings.weight_decay_fast) } else { (rates.0, settings.weight_decay) };
        for at in entry.range() {
            let gradient = gradient[at] + decay * params[at];
            momentum[at] = settings.momentum * momentum[at] + gradient;
            let step =
                if settings.nesterov { gradient + settings.momentum * momentum[at] } else { momentum[at] };
            params[at] -= rate * step;
        }
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn follows_pytorch(
        momentum in 0.0..0.99_f64,
        weight_decay in 0.0..0.1_f64,
        weight_decay_fast in prop_oneof![Just(0.0), 0.0..0.1_f64],
        nesterov in any::<bool>(),
        rate in 0.001..0.3_f64,
        rate_fast in 0.001..0.3_f64,
        seed in any::<u64>(),
    ) {
        let network = ensemble();
        let settings = SgdSettings { momentum, weight_decay, weight_decay_fast, nesterov };
        let mut sgd = Sgd::new(&network, settings);
        let mut params = wide(&values(network.params()));
        let mut velocity = vec![0.0; params.len()];
        let mut draws = draws(seed);
        for step in 0..5 {
            let gradient = normals(&mut draws, params.len());
            let rates = (rate / f64::from(step + 1), rate_fast);
            torch_sgd(&network, &mut params, &mut velocity, &wide(&gradient), settings, rates);
            let gradient = Tensor::from_vec(gradient, params.len(), &Device::Cpu).unwrap();
            sgd.apply(&network, &gradient, rates.0, rates.1).unwrap();
        }
        for (found, expected) in values(network.params()).iter().zip(&params) {
            prop_assert!((f64::from(*found) - expected).abs() < 1e-5 * expected.abs().max(1.0), "{found} {expected}");
        }
        for (found, expected) in sgd.momentum().unwrap().iter().zip(&velocity) {
            prop_assert!((f64::from(*found) - expected).abs() < 1e-5 * expected.abs().max(1.0), "{found} {expected}");
        }
    }
}

/// A loaded momentum continues with the same bits; running statistics are nothing that the optimiser touches.
#[test]
fn continues_from_a_loaded_momentum() {
    let settings = SgdSettings { momentum: 0.9, weight_decay: 5e-4, weight_decay_fast: 0.0, nesterov: false };
    let (one, other) = (ensemble(), ensemble());
    let before = one.buffers().unwrap();
    let mut sgd = Sgd::new(&one, settings);
    let count = one.layout().parameter_count();
    let mut draws = draws(2);
    let mut gradient = || Tensor::from_vec(normals(&mut draws, count), count, &Device::Cpu).unwrap();
    let (first, second) = (gradient(), gradient());
    sgd.apply(&one, &first, 0.1, 0.05).unwrap();
    other.load_state(&one.state().unwrap()).unwrap();
    let mut resumed = Sgd::new(&other, settings);
    resumed.load_momentum(&sgd.momentum().unwrap()).unwrap();
    sgd.apply(&one, &second, 0.1, 0.05).unwrap();
    resumed.apply(&other, &second, 0.1, 0.05).unwrap();
    assert_eq!(bits(&values(one.params())), bits(&values(other.params())));
    assert_eq!(bits(&sgd.momentum().unwrap()), bits(&resumed.momentum().unwrap()));
    assert_eq!(bits(&before), bits(&one.buffers().unwrap()));
}

#[test]
fn what_does_not_fit_is_an_error() {
    let network = ensemble();
    let settings = SgdSettings { momentum: 0.9, weight_decay: 0.0, weight_decay_fast: 0.0, nesterov: false };
    let mut sgd = Sgd::new(&network, settings);
    let count = network.layout().parameter_count();
    let short = Tensor::zeros(count - 1, candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(sgd.apply(&network, &short, 0.1, 0.1).is_err());
    assert!(sgd.load_momentum(&vec![0.0; count + 1]).is_err());
    // Another network's parameters, of which this optimiser has no momentum.
    let other = small::network(&NetworkSpec { members: Some(3), ..network.spec().clone() }, 1);
    let of_other = Tensor::zeros(other.params().dims(), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(sgd.apply(&other, &of_other, 0.1, 0.1).is_err());
    let before = bits(&values(network.params()));
    let elsewhere = candle_core::Var::new(&[1.0_f32], &Device::Cpu).unwrap();
    let error = sgd.step(&network, &elsewhere.sum_all().unwrap(), 0.1, 0.1).unwrap_err();
    assert!(error.to_string().contains("does not depend"), "{error}");
    assert_eq!(before, bits(&values(network.params())));
}
