//! The rate factors of the protocol, by hand from its table (Training).

use nn::Schedule;
use nn::schedule::Decay;

const PROTOCOL: Schedule =
    Schedule { milestones: [5, 150, 270], warmup_factor: 0.01, gamma: 0.01, decay: Decay::Linear };

fn assert_factor(epoch: usize, expected: f64) {
    // By epoch: no step of it makes a difference.
    assert_eq!(PROTOCOL.factor(epoch, 0.99), PROTOCOL.factor(epoch, 0.0));
    let found = PROTOCOL.factor(epoch, 0.0);
    assert!((found - expected).abs() < 1e-12, "epoch {epoch}: {found}, expected {expected}");
}

#[test]
fn protocol_values() {
    // 1..4 linear from 0.01, one at 5: steps of 0.99 / 4.
    for (epoch, expected) in [(1, 0.01), (2, 0.2575), (3, 0.505), (4, 0.7525), (5, 1.0)] {
        assert_factor(epoch, expected);
    }
    (5..150).for_each(|epoch| assert_factor(epoch, 1.0));
    // 150..269 linear to 0.01: 120 steps of 0.99 / 120 = 0.00825.
    for (epoch, expected) in [(150, 1.0), (151, 0.99175), (210, 0.505), (269, 0.01825), (270, 0.01)] {
        assert_factor(epoch, expected);
    }
    (270..=400).for_each(|epoch| assert_factor(epoch, 0.01));
}

/// Milestones that coincide leave a phase out and divide by nothing.
#[test]
fn phases_may_be_empty() {
    for milestones in [[0, 0, 0], [1, 1, 1], [1, 3, 3], [5, 5, 5], [2, 2, 4]] {
        let schedule = Schedule { milestones, ..PROTOCOL };
        for epoch in 0..8 {
            let factor = schedule.factor(epoch, 0.0);
            assert!((0.01..=1.0).contains(&factor), "{milestones:?}, epoch {epoch}: {factor}");
        }
        assert_eq!(schedule.factor(7, 0.0), 0.01);
    }
    let no_warmup = Schedule { milestones: [0, 3, 5], ..PROTOCOL };
    assert_eq!([1, 2, 3].map(|epoch| no_warmup.factor(epoch, 0.0)), [1.0; 3]);
    assert!((no_warmup.factor(4, 0.0) - 0.505).abs() < 1e-12);
}

/// LatentBE's: from 0 in a line to 1 over 5 epochs, then (1 + cos(pi t)) / 2 down to 0 over the other 195, step by step.
#[test]
fn cosine_by_step() {
    let schedule = Schedule { milestones: [5, 5, 200], warmup_factor: 0.0, gamma: 0.0, decay: Decay::Cosine };
    let third: f64 = 5.0 + 195.0 / 3.0;
    for (epoch, passed, expected) in [
        (1, 0.0, 0.0),
        (1, 0.5, 0.1),
        (3, 0.5, 0.5),
        (6, 0.0, 1.0),
        // A third of the way: cos(pi / 3) = 1/2; half: cos(pi / 2) = 0.
        (1 + third as usize, third.fract(), 0.75),
        (103, 0.5, 0.5),
        (201, 0.0, 0.0),
        (500, 0.9, 0.0),
    ] {
        let found = schedule.factor(epoch, passed);
        assert!((found - expected).abs() < 1e-12, "epoch {epoch} + {passed}: {found}, expected {expected}");
    }
    let steps: Vec<f64> =
        (5 * 8..200 * 8).map(|step| schedule.factor(1 + step / 8, (step % 8) as f64 / 8.0)).collect();
    assert!(steps.windows(2).all(|pair| pair[1] < pair[0]), "falls at every step");
}

/// A floor, and a constant phase between warm-up and decay.
#[test]
fn cosine_with_a_floor() {
    let schedule = Schedule { milestones: [0, 10, 20], warmup_factor: 0.5, gamma: 0.2, decay: Decay::Cosine };
    assert_eq!(schedule.factor(1, 0.0), 1.0);
    assert_eq!(schedule.factor(10, 0.9), 1.0);
    assert!((schedule.factor(16, 0.0) - 0.6).abs() < 1e-12);
    assert_eq!(schedule.factor(21, 0.0), 0.2);
}
