//! Whole networks against the plain forward pass in f64: logits, running statistics, and gradients by parameters and
//! images against central differences of that pass.

use candle_core::{Device, Tensor};
use nn::{Mode, NetworkSpec};
use proptest::prelude::*;

use crate::reference::Reference;
use crate::small::{self, cases, draws, normals, values, wide};
use crate::threads::on_threads;

fn modes() -> impl Strategy<Value = Mode> {
    prop_oneof![Just(Mode::Eval), (1..=3_usize).prop_map(|groups| Mode::Train { groups })]
}

/// Largest distance, as a share of the largest expected value.
fn distance(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().fold(1e-3_f64, |max, v| max.max(v.abs()));
    let worst = found.iter().zip(expected).fold(0.0_f64, |max, (f, e)| {
        let distance = (f64::from(*f) - e).abs();
        if distance.is_nan() { f64::INFINITY } else { max.max(distance) }
    });
    worst / scale
}

fn check_forward(spec: &NetworkSpec, batch: usize, mode: Mode, seed: u64) -> Result<(), String> {
    let network = small::network(spec, seed);
    let images = small::images(spec, batch, seed);
    let reference = Reference::of(&network);
    let expected = reference.pass(&wide(&values(&images)), mode);
    // Kept for a backward pass, and not: two different ways through the engine.
    let detached = images.as_detached_tensor();
    let unkept = network.frozen_logits(&detached, mode).map_err(|e| e.to_string())?;
    let after_one = network.state().unwrap();
    let kept = network.logits(&images, mode).map_err(|e| e.to_string())?;
    for (way, logits) in [("without", unkept), ("with", kept)] {
        if logits.dims() != [network.members(), batch, spec.classes] {
            return Err(format!("logits {:?}", logits.dims()));
        }
        let distance = distance(&values(&logits), &expected.logits);
        if distance > 2e-4 {
            return Err(format!("logits {way} a backward pass are off by {distance}"));
        }
    }
    for tensor in after_one {
        if tensor.name.contains("running") {
            let expected = expected.running.get(&tensor.name).unwrap_or(&reference.tensors[&tensor.name]);
            let distance = distance(&tensor.values, expected);
            if distance > 1e-5 {
                return Err(format!("{} is off by {distance}", tensor.name));
            }
        }
    }
    Ok(())
}

/// A network whose statistics are still sees the batch's, and moves neither its own nor those that it shares.
#[test]
fn still_statistics_stay_as_they_are() {
    for (family, shortcut) in small::kinds() {
        let spec = small::spec(family, shortcut, 2, 6).batch_ensemble(2);
        let (network, images) = (small::network(&spec, 3), small::images(&spec, 5, 3));
        let before = network.buffers().unwrap();
        let mode = Mode::Train { groups: 2 };
        let pass = |network: &nn::Network| {
            let logits = network.logits(&images, mode).unwrap();
            let gradients = logits.sqr().unwrap().sum_all().unwrap().backward().unwrap();
            (small::bits(&values(&logits)), small::bits(&values(gradients.get(network.params()).unwrap())))
        };
        let still = pass(&network.with_still_statistics());
        assert_eq!(small::bits(&network.buffers().unwrap()), small::bits(&before));
        assert!(still == pass(&network), "{family:?}: other logits or gradients");
        assert_ne!(network.buffers().unwrap(), before);
    }
}

/// Along a random direction for each tensor, and for the images: directional derivative against a central difference.
fn check_gradients(spec: &NetworkSpec, batch: usize, mode: Mode, seed: u64) -> Result<(), String> {
    // So small that hardly ever a ReLU changes sides within it; f64 leaves seven digits.
    const STEP: f64 = 1e-9;
    let network = small::network(spec, seed);
    let images = small::images(spec, batch, seed);
    let reference = Reference::of(&network);
    let mut draws = draws(seed ^ 0x77);
    let weights = normals(&mut draws, network.members() * batch * spec.classes);
    let pixels = wide(&values(&images));
    let loss = |reference: &Reference, pixels: &[f64]| -> f64 {
        let logits = reference.pass(pixels, mode).logits;
        logits.iter().zip(&weights).map(|(logit, weight)| logit * f64::from(*weight)).sum()
    };

    let logits = network.logits(&images, mode).unwrap();
    let shape = (network.members(), batch, spec.classes);
    let tensor = Tensor::from_vec(weights.clone(), shape, &Device::Cpu).unwrap();
    let gradients = (&logits * tensor).unwrap().sum_all().unwrap().backward().unwrap();
    let by_params = values(gradients.get(network.params()).unwrap());
    let by_images = values(gradients.get(&images).unwrap());

    let agree = |what: &str, gradient: &[f32], direction: &[f32], difference: f64| {
        let found: f64 = gradient.iter().zip(direction).map(|(g, d)| f64::from(*g) * f64::from(*d)).sum();
        let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
        // f32 rounding through the norms of small batches; one wrong element moves the sum by far more.
        let tolerance = 1e-3 * length + 1e-4;
        let distance = (found - difference).abs();
        if distance.is_nan() || distance > tolerance {
            return Err(format!(
                "{what}: derivative {found}, difference quotient {difference}, length {length}"
            ));
        }
        Ok(())
    };
    for entry in network.layout().entries() {
        let is_parameter = !entry.name.contains("running");
        if !is_parameter {
            continue;
        }
        let direction = normals(&mut draws, entry.len());
        let moved = |step: f64| {
            let mut moved = reference.clone();
            let tensor = moved.tensors.get_mut(&entry.name).unwrap();
            tensor.iter_mut().zip(&direction).for_each(|(to, d)| *to += step * f64::from(*d));
            loss(&moved, &pixels)
        };
        let difference = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
        agree(&entry.name, &by_params[entry.range()], &direction, difference)?;
    }
    let direction = normals(&mut draws, pixels.len());
    let moved = |step: f64| {
        let moved: Vec<f64> = pixels.iter().zip(&direction).map(|(x, d)| x + step * f64::from(*d)).collect();
        loss(&reference, &moved)
    };
    agree("images", &by_images, &direction, (moved(STEP) - moved(-STEP)) / (2.0 * STEP))?;

    // A frozen network has the same gradient by images and none by parameters.
    let frozen = network.frozen_logits(&images, mode).unwrap();
    let tensor = Tensor::from_vec(weights.clone(), shape, &Device::Cpu).unwrap();
    let gradients = (&frozen * tensor).unwrap().sum_all().unwrap().backward().unwrap();
    if gradients.get(network.params()).is_some() {
        return Err("a frozen network has a gradient by its parameters".to_owned());
    }
    let of_frozen = distance(&values(gradients.get(&images).unwrap()), &wide(&by_images));
    if of_frozen > 1e-5 {
        return Err(format!("the frozen network's gradient by images differs by {of_frozen}"));
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(96))]

    #[test]
    fn forward(
        spec in small::specs(),
        batch in 1..=7_usize,
        mode in modes(),
        threads in 1..=5_usize,
        seed in any::<u64>(),
    ) {
        prop_assert_eq!(on_threads(threads, || check_forward(&spec, batch, mode, seed)), Ok(()));
    }
}

proptest! {
    #![proptest_config(cases(32))]

    #[test]
    fn gradients(
        spec in small::specs(),
        batch in 2..=5_usize,
        mode in modes(),
        threads in 1..=5_usize,
        seed in any::<u64>(),
    ) {
        prop_assert_eq!(on_threads(threads, || check_gradients(&spec, batch, mode, seed)), Ok(()));
    }
}

/// Every kind of network in every mode, whatever the random cases left out. Batch 5 is no multiple of 2 or 3 groups.
#[test]
fn gradients_of_every_kind() {
    for (family, shortcut) in small::kinds() {
        for members in [None, Some(2)] {
            for mode in
                [Mode::Eval, Mode::Train { groups: 1 }, Mode::Train { groups: 2 }, Mode::Train { groups: 3 }]
            {
                let spec = NetworkSpec { members, ..small::spec(family, shortcut, 2, 6) };
                assert_eq!(
                    check_forward(&spec, 5, mode, 11),
                    Ok(()),
                    "{family:?} {shortcut:?} {members:?} {mode:?}"
                );
                assert_eq!(
                    check_gradients(&spec, 5, mode, 11),
                    Ok(()),
                    "{family:?} {shortcut:?} {members:?} {mode:?}"
                );
            }
        }
    }
}

/// Larger batches than tasks, sub-batches and lanes: 2 members of 37 images.
#[test]
fn forward_of_a_larger_batch() {
    for (family, shortcut) in small::kinds() {
        let spec = NetworkSpec { members: Some(2), ..small::spec(family, shortcut, 2, 5) };
        for mode in [Mode::Eval, Mode::Train { groups: 4 }] {
            assert_eq!(check_forward(&spec, 37, mode, 5), Ok(()), "{family:?} {shortcut:?} {mode:?}");
        }
    }
}

#[test]
fn images_of_another_shape_are_errors() {
    let (family, shortcut) = small::kinds()[0];
    let network = small::network(&small::spec(family, shortcut, 1, 6), 0);
    for shape in [vec![0, 3, 6, 6], vec![2, 1, 6, 6], vec![2, 3, 6, 7], vec![3, 6, 6], vec![2, 3, 6, 6, 1]] {
        let images = Tensor::zeros(shape.clone(), candle_core::DType::F32, &Device::Cpu).unwrap();
        let error = network.logits(&images, Mode::Eval).unwrap_err().to_string();
        assert!(error.contains("(B, 3, 6, 6)"), "{shape:?}: {error}");
    }
}
