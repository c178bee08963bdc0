//! Passes that are recorded and launched as a whole.

use std::sync::Arc;

use super::super::{stage, trial};
use super::There;
use super::small::{self, normals, values};
use crate::engine::backward::Wanted;
use crate::network::Mode;
use crate::ops::cuda::backend::Manner;
use crate::ops::cuda::emulated::Emulated;
use crate::precision::Precision;
use crate::spec::{Family, NetworkSpec, Shortcut};

/// A step that goes through the network twice before it goes back, again and again: the same bits whether its passes are
/// launched one kernel at a time or recorded, and from other images and parameters each time.
#[test]
fn recorded_passes() {
    const STEPS: u64 = 5;
    for (kind, (family, shortcut)) in small::kinds().into_iter().enumerate() {
        let members = (kind % 2 == 0).then_some(2);
        let spec = NetworkSpec { members, ..small::spec(family, shortcut, 2, 6) };
        let graph = spec.graph().unwrap();
        let network = small::network(&spec, 8);
        for (mode, wanted) in [
            (Mode::Eval, Wanted { params: false, images: true }),
            (Mode::Train { groups: 2 }, Wanted { params: true, images: true }),
            (Mode::Train { groups: 1 }, Wanted { params: true, images: false }),
        ] {
            let device = (Precision::F32, false);
            let Some(there) = There::new(&network, &graph, device) else { return };
            let before = stage::replays();
            let mut statistics = network.buffers().unwrap();
            for step in 0..STEPS {
                let params = values(small::network(&spec, step).params());
                there.params.write(&params).unwrap();
                let images = [2 * step, 2 * step + 1].map(|seed| values(&small::images(&spec, 3, seed)));
                let mut draws = small::draws(step);
                let len = network.members() * 3 * spec.classes;
                let weights = [(); 2].map(|()| normals(&mut draws, len));
                let run = |there: &There| {
                    let forward = |images| there.forward(&graph, images, (mode, true), wanted.params);
                    let (first, second) = (forward(&images[0]), forward(&images[1]));
                    let second = there.backward(&graph, second, &weights[1], wanted);
                    let first = there.backward(&graph, first, &weights[0], wanted);
                    [first, second].map(|pass| {
                        let all = [
                            pass.logits,
                            pass.grad_params.unwrap_or_default(),
                            pass.grad_images.unwrap_or_default(),
                            pass.buffers,
                        ];
                        all.map(|values| small::bits(&values))
                    })
                };
                // One that has not seen such a pass yet, with the statistics that this one starts the step with.
                let fresh = There::new(&network, &graph, device).unwrap();
                fresh.params.write(&params).unwrap();
                fresh.on.set_buffers(&statistics).unwrap();
                assert_eq!(run(&there), run(&fresh), "{family:?} {shortcut:?} {mode:?} step {step}");
                statistics = there.on.buffers().unwrap();
            }
            // Two passes a step forward and back, of which the first of each kind is not recorded.
            assert!(stage::replays() >= before + 4 * (STEPS - 1), "nothing was recorded");
            assert_eq!(stage::refusals(), 0);
        }
    }
    spoilt_recordings();
    refused_manners();
}

/// A recording that is spoilt is tried again after the second pass and the fourth; meanwhile passes are computed all the same.
/// A part of the test above, which counts refusals too.
fn spoilt_recordings() {
    let spec = small::spec(Family::ResNet, Shortcut::Identity, 2, 6);
    let (graph, network) = (spec.graph().unwrap(), small::network(&spec, 8));
    let Some(device) = Emulated::new(false) else { return };
    let device = Arc::new(device.that_spoils(4));
    let there = There::on(Arc::clone(&device), &network, &graph, Precision::F32);
    let images = values(&small::images(&spec, 3, 1));
    let mut first = None;
    for recordings in [0, 2, 4, 4, 6, 6] {
        let logits = small::bits(&there.forward(&graph, &images, (Mode::Eval, true), false).logits);
        assert_eq!(*first.get_or_insert_with(|| logits.clone()), logits);
        assert_eq!(device.recordings(), recordings);
    }
    assert_eq!(stage::refusals(), 4);
}

/// A manner that the device refuses is left out, and what the forward pass kept is still there to go back through. A part of the
/// test above, as well.
fn refused_manners() {
    let Some(device) = Emulated::new(false) else { return };
    let before = stage::refusals();
    let device = Arc::new(device.that_refuses(Manner::Overlapping));
    train(&device, 4);
    assert_eq!(stage::refusals(), before + 2);
    assert_eq!(device.replayed(Manner::Overlapping), 0);
    assert!(device.replayed(Manner::Branching) > 0, "the way back branches");
    // One that can be recorded and not launched goes when it is its turn.
    let device = Arc::new(Emulated::new(false).unwrap().that_launches_no(Manner::Branching));
    train(&device, 6);
    assert_eq!(stage::refusals(), before + 3);
    assert_eq!(device.replayed(Manner::Branching), 0);
}

/// Whichever manner is the fastest is the one that is launched, once all were compared.
#[test]
fn the_fastest_manner_is_taken() {
    for fastest in [Manner::Straight, Manner::Branching, Manner::Overlapping] {
        let Some(device) = Emulated::new(false) else { return };
        let device = Arc::new(device.that_is_for(fastest));
        // The first pass is not recorded; three manners have four turns each on the way back.
        const COMPARED: usize = 1 + 3 * 4;
        const MORE: usize = 4;
        train(&device, COMPARED + MORE);
        let trials = trial::take_trials();
        let of_this = |trial: &&trial::Trial| trial.what.starts_with("the backward pass of 1 x 5 images");
        let times = &trials.iter().rev().find(of_this).expect("a way back was compared").times;
        assert_eq!((times.len(), times[0]), (3, (fastest, 1.0)));
        // Those of both directions; forward passes are not tried with branches alone.
        let expected = match fastest {
            Manner::Straight => (4 + MORE) + (4 + MORE + 4),
            Manner::Branching => 4 + MORE,
            Manner::Overlapping => (4 + MORE) + (4 + MORE + 4),
        };
        assert_eq!(device.replayed(fastest), expected, "{fastest}");
    }
}

/// Steps from the same parameters and images, which leave the same bits.
fn train(device: &Arc<Emulated>, steps: usize) {
    let spec = small::spec(Family::ResNet, Shortcut::Identity, 2, 6);
    let (graph, network) = (spec.graph().unwrap(), small::network(&spec, 8));
    let there = There::on(Arc::clone(device), &network, &graph, Precision::F32);
    let images = values(&small::images(&spec, 5, 1));
    let weights = normals(&mut small::draws(1), network.members() * 5 * spec.classes);
    let wanted = Wanted { params: true, images: false };
    let mut first = None;
    for _ in 0..steps {
        let forward = there.forward(&graph, &images, (Mode::Train { groups: 1 }, false), true);
        let pass = there.backward(&graph, forward, &weights, wanted);
        let bits = [pass.logits, pass.grad_params.unwrap()].map(|values| small::bits(&values));
        assert_eq!(*first.get_or_insert_with(|| bits.clone()), bits);
    }
}
