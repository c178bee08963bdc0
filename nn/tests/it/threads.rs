//! The number of threads changes no bit.

use candle_core::{Device, Tensor};
use nn::loss::cross_entropy;
use nn::{Mode, NetworkSpec, Sgd, SgdSettings};
use proptest::prelude::*;

use crate::small::{self, bits, values};

/// What `work` gives where it has so many threads.
pub(crate) fn on_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

/// Logits, gradients, and parameters, statistics and momentum after three steps, as bits.
fn train(spec: &NetworkSpec, threads: usize) -> Vec<Vec<u32>> {
    on_threads(threads, || {
        let network = small::network(spec, 7);
        let settings =
            SgdSettings { momentum: 0.9, weight_decay: 5e-4, weight_decay_fast: 0.0, nesterov: false };
        let mut sgd = Sgd::new(&network, settings);
        let batch = 13;
        let images = small::images(spec, batch, 7);
        let labels: Vec<u32> = (0..batch as u32).map(|n| n % spec.classes as u32).collect();
        let labels = Tensor::from_vec(labels, batch, &Device::Cpu).unwrap();
        let mut seen =
            vec![bits(&values(&network.frozen_logits(&images.as_detached_tensor(), Mode::Eval).unwrap()))];
        for _ in 0..3 {
            let logits = network.logits(&images, Mode::Train { groups: 2 }).unwrap();
            let loss = cross_entropy(&logits, &labels).unwrap();
            let gradients = loss.backward().unwrap();
            seen.push(bits(&values(&logits)));
            seen.push(bits(&values(gradients.get(network.params()).unwrap())));
            seen.push(bits(&values(gradients.get(&images).unwrap())));
            sgd.step(&network, &loss, 0.1, 0.05).unwrap();
        }
        seen.extend(network.state().unwrap().iter().map(|tensor| bits(&tensor.values)));
        seen.push(bits(&sgd.momentum().unwrap()));
        seen
    })
}

#[test]
fn one_thread_and_three_give_the_same_bits() {
    for (family, shortcut) in small::kinds() {
        for members in [None, Some(3)] {
            // 40 planes: more parameters than the optimiser takes in one chunk.
            let spec = NetworkSpec { members, in_planes: 40, ..small::spec(family, shortcut, 2, 7) };
            let (one, three) = (train(&spec, 1), train(&spec, 3));
            assert!(one == three, "{family:?} {shortcut:?} {members:?}");
            assert!(one == train(&spec, 1), "a second run, {family:?} {shortcut:?} {members:?}");
        }
    }
}

proptest! {
    #![proptest_config(small::cases(24))]

    #[test]
    fn any_number_of_threads_gives_the_same_bits(spec in small::specs(), threads in 2..=5_usize) {
        prop_assert!(train(&spec, 1) == train(&spec, threads));
    }
}
