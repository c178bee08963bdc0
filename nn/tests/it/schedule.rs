//! The rate factors of the protocol, by hand from its table (Training).

use nn::Schedule;

const PROTOCOL: Schedule = Schedule { milestones: [5, 150, 270], warmup_factor: 0.01, gamma: 0.01 };

fn assert_factor(epoch: usize, expected: f64) {
    let found = PROTOCOL.factor(epoch);
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
            let factor = schedule.factor(epoch);
            assert!((0.01..=1.0).contains(&factor), "{milestones:?}, epoch {epoch}: {factor}");
        }
        assert_eq!(schedule.factor(7), 0.01);
    }
    let no_warmup = Schedule { milestones: [0, 3, 5], ..PROTOCOL };
    assert_eq!([1, 2, 3].map(|epoch| no_warmup.factor(epoch)), [1.0; 3]);
    assert!((no_warmup.factor(4) - 0.505).abs() < 1e-12);
}
