//! Derivatives by the image against finite differences, estimates against exact values, and stored arrays against their
//! definitions, on tiny networks.

use candle_core::{Device, Tensor};
use datasets::Dataset;
use harness::analyze::linearization::{Linearization, doubles, outputs};
use harness::analyze::probes::Probes;
use harness::analyze::{jacobian, remainder};
use methods::be_kd_ods::BeKdOds;
use nn::{Family, Mode, Network, NetworkSpec, Precision, Shortcut};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use random::{Draws, Stream};
use results::analysis::{Against, Direction, Estimator, Space};

const IMAGE: usize = 4;
/// D = C * H * W.
const PIXELS: usize = 3 * IMAGE * IMAGE;

fn cases(count: u32) -> ProptestConfig {
    ProptestConfig {
        cases: count,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn draws(seed: u64, name: &str) -> Draws {
    Stream::new(seed, name).draws(0, 0)
}

fn spec(classes: usize, members: Option<usize>) -> NetworkSpec {
    NetworkSpec {
        family: Family::PreResNet,
        shortcut: Shortcut::Projection,
        blocks: vec![1, 1],
        in_planes: 6,
        widen: 1,
        channels: 3,
        image: IMAGE,
        classes,
        members,
        pixel_mean: vec![0.5; 3],
        pixel_std: vec![0.25; 3],
        precision: Precision::F32,
    }
}

/// A network whose norms leave every unit active (no kinks near the images), with logits near zero at grey, so that its
/// probabilities are far from 0 and 1.
fn network(classes: usize, members: Option<usize>, seed: u64) -> Network {
    let network = Network::new(&spec(classes, members), seed, &Device::Cpu).unwrap();
    let mut draws = draws(seed, "norms");
    let mut edit = |change: &mut dyn FnMut(&str, &mut [f32], &mut Draws)| {
        let mut state = network.state().unwrap();
        state.iter_mut().for_each(|tensor| change(&tensor.name, &mut tensor.values, &mut draws));
        network.load_state(&state).unwrap();
    };
    edit(&mut |name, values, draws| {
        if name.contains("norm") && name.ends_with("bias") {
            values.fill_with(|| 8.0 + draws.uniform_in(-0.2, 0.2));
        }
    });
    // Running statistics of random images, so that the norms' inputs are of size 1.
    let mut pixels = self::draws(seed, "statistics");
    let pixels: Vec<f32> = (0..64 * PIXELS).map(|_| pixels.uniform()).collect();
    let images = Tensor::from_vec(pixels, (64, 3, IMAGE, IMAGE), &Device::Cpu).unwrap();
    for _ in 0..60 {
        network.frozen_logits(&images, Mode::Train { groups: 1 }).unwrap();
    }
    let grey = Tensor::full(0.5_f32, (1, 3, IMAGE, IMAGE), &Device::Cpu).unwrap();
    let logits = doubles(&network.frozen_logits(&grey, Mode::Eval).unwrap()).unwrap();
    edit(&mut |name, values, draws| {
        if name.starts_with("classifier") && name.ends_with("bias") {
            values
                .iter_mut()
                .zip(&logits)
                .for_each(|(bias, logit)| *bias += draws.uniform_in(-1.0, 1.0) - *logit as f32);
        }
    });
    network
}

fn dataset(seed: u64, images: usize, classes: usize) -> Dataset {
    let mut draws = draws(seed, "pixels");
    Dataset {
        images: (0..images * PIXELS).map(|_| 102 + draws.below(52) as u8).collect(),
        labels: vec![0; images],
        classes,
        size: IMAGE,
        posterior: None,
    }
}

fn images(data: &Dataset) -> Tensor {
    let rows: Vec<usize> = (0..data.len()).collect();
    Tensor::from_vec(data.gather(&rows), (rows.len(), 3, IMAGE, IMAGE), &Device::Cpu).unwrap()
}

fn outputs_of(network: &Network, images: &Tensor, space: Space) -> Vec<f64> {
    let logits = network.frozen_logits(images, Mode::Eval).unwrap();
    outputs(space, &doubles(&logits).unwrap(), network.spec().classes)
}

/// Jacobians (K, D) of every image by central differences, in f64 from f32 outputs.
fn finite_differences(network: &Network, images: &Tensor, space: Space) -> Vec<Vec<Vec<f64>>> {
    const H: f64 = 0.02;
    let (batch, classes) = (images.dim(0).unwrap(), network.spec().classes);
    let mut jacobians = vec![vec![vec![0.0; PIXELS]; classes]; batch];
    for pixel in 0..PIXELS {
        let mut step = vec![0.0_f32; PIXELS];
        step[pixel] = H as f32;
        let step = Tensor::from_vec(step, (1, 3, IMAGE, IMAGE), &Device::Cpu).unwrap();
        let up = outputs_of(network, &images.broadcast_add(&step).unwrap(), space);
        let down = outputs_of(network, &images.broadcast_sub(&step).unwrap(), space);
        for (image, jacobian) in jacobians.iter_mut().enumerate() {
            for (class, row) in jacobian.iter_mut().enumerate() {
                let at = image * classes + class;
                row[pixel] = (up[at] - down[at]) / (2.0 * f64::from(H as f32));
            }
        }
    }
    jacobians
}

fn product(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    a.iter().flatten().zip(b.iter().flatten()).map(|(a, b)| a * b).sum()
}

/// Distance and cosine from the definition.
fn similarity(own: &[Vec<f64>], theirs: &[Vec<f64>]) -> (f64, f64) {
    let (own_own, both, theirs_theirs) = (product(own, own), product(own, theirs), product(theirs, theirs));
    let distance = (own_own - 2.0 * both + theirs_theirs).sqrt() / theirs_theirs.sqrt();
    (distance, both / (own_own * theirs_theirs).sqrt())
}

proptest! {
    #![proptest_config(cases(12))]

    /// J^T v for random v is what central differences give, in both spaces.
    #[test]
    fn pulled_back_vectors_are_the_jacobians(seed in 0..1000_u64, classes in 2..6_usize) {
        let network = network(classes, None, seed);
        let data = dataset(seed, 2, classes);
        let images = images(&data);
        let around = Linearization::new(&network, &images).unwrap();
        let mut draws = draws(seed, "v");
        let v: Vec<f32> = (0..2 * classes).map(|_| draws.normal()).collect();
        for space in Space::ALL {
            let jacobians = finite_differences(&network, &images, space);
            let pulled = around.pull_back(space, &v).unwrap();
            let largest = jacobians.iter().flatten().flatten().fold(0.0_f64, |max, j| max.max(j.abs()));
            prop_assert!(largest > 1e-4, "{space:?}: nothing to compare, {largest}");
            for (image, jacobian) in jacobians.iter().enumerate() {
                for pixel in 0..PIXELS {
                    let expected: f64 = jacobian.iter().zip(&v[image * classes..]).map(|(row, v)| row[pixel] * f64::from(*v)).sum();
                    let found = f64::from(pulled[image * PIXELS + pixel]);
                    prop_assert!((found - expected).abs() < 0.01 * largest, "{space:?} image {image} pixel {pixel}: {found} {expected}");
                }
            }
        }
    }

    /// Distances and cosines are those of Jacobians by central differences: one to one, and against the ensemble's mean.
    #[test]
    fn matches_follow_their_definition(seed in 0..1000_u64) {
        const CLASSES: usize = 4;
        let teachers = [network(CLASSES, None, seed + 1), network(CLASSES, None, seed + 2)];
        let data = dataset(seed, 3, CLASSES);
        let images = images(&data);
        let of = |network: &Network, space| finite_differences(network, &images, space);
        let probes = Probes::new(CLASSES, 0);
        for members in [Some(2), None] {
            let student = network(CLASSES, members, seed);
            let found = jacobian::compare(&student, &teachers, &data, vec![0, 1, 2], &probes).unwrap();
            let against = if members.is_some() { Against::OneToOne } else { Against::Ensemble };
            prop_assert_eq!((found.against, found.estimator), (against, Estimator::Exact));
            for space in Space::ALL {
                let theirs = [of(&teachers[0], space), of(&teachers[1], space)];
                let found = &found.spaces[&space];
                for (member, (distances, cosines)) in found.distance.rows().zip(found.cosine.rows()).enumerate() {
                    let own = of(&student.member(member).unwrap(), space);
                    for image in 0..3 {
                        let target: Vec<Vec<f64>> = match against {
                            Against::OneToOne => theirs[member][image].clone(),
                            Against::Ensemble => {
                                let rows = theirs[0][image].iter().zip(&theirs[1][image]);
                                rows.map(|(a, b)| a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect()).collect()
                            }
                        };
                        let (distance, cosine) = similarity(&own[image], &target);
                        prop_assert!((f64::from(distances[image]) - distance).abs() < 0.02 * distance.max(1.0), "{space:?}: {} {distance}", distances[image]);
                        prop_assert!((f64::from(cosines[image]) - cosine).abs() < 0.02, "{space:?}: {} {cosine}", cosines[image]);
                    }
                }
            }
        }
    }
}

/// A student that is its teacher: distance 0, cosine 1, whatever the estimator.
#[test]
fn a_network_matches_itself() {
    let data = dataset(3, 4, 5);
    for estimator in [Estimator::Exact, Estimator::Projections(6)] {
        let probes = Probes::with(5, 1, estimator);
        let teacher = [network(5, None, 7)];
        let found = jacobian::compare(&network(5, None, 7), &teacher, &data, vec![0, 2, 3], &probes).unwrap();
        assert_eq!(found.examples, [0, 2, 3]);
        for found in found.spaces.values() {
            assert!(found.distance.values().iter().all(|distance| *distance < 1e-6), "{found:?}");
            assert!(found.cosine.values().iter().all(|cosine| (cosine - 1.0).abs() < 1e-6), "{found:?}");
        }
    }
}

/// The mean over many draws of v of <A^T v, B^T v> is the sum over unit vectors, within four of its standard errors.
#[test]
fn projections_are_unbiased() {
    const CLASSES: usize = 6;
    const DRAWS: usize = 2000;
    let data = dataset(5, 1, CLASSES);
    let images = images(&data);
    let networks = [network(CLASSES, None, 1), network(CLASSES, None, 2)];
    let around = networks.each_ref().map(|network| Linearization::new(network, &images).unwrap());
    for (space, other) in [(Space::Logits, 0), (Space::Logits, 1), (Space::Probs, 0), (Space::Probs, 1)] {
        let products = |probes: &Probes| -> Vec<f64> {
            let product = |index| {
                let v = probes.vectors(index, &[0]);
                let [a, b] = [&around[0], &around[other]].map(|around| around.pull_back(space, &v).unwrap());
                a.iter().zip(&b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>()
            };
            (0..probes.count()).map(product).collect()
        };
        let exact: f64 = products(&Probes::with(CLASSES, 3, Estimator::Exact)).iter().sum();
        let estimates = products(&Probes::with(CLASSES, 3, Estimator::Projections(DRAWS)));
        let mean = estimates.iter().sum::<f64>() / DRAWS as f64;
        let variance = estimates.iter().map(|one| (one - mean).powi(2)).sum::<f64>() / (DRAWS - 1) as f64;
        let error = (variance / DRAWS as f64).sqrt();
        assert!((mean - exact).abs() < 4.0 * error, "{space:?} {other}: {mean} +- {error}, exact {exact}");
        // A norm is known to a few percent: a wrong factor would show.
        assert!(other == 1 || error < 0.05 * exact, "{space:?}: {mean} +- {error}, exact {exact}");
    }
}

/// Standard errors of distances and cosines are of the size of their errors: of 80 estimates two thirds or more are
/// within one, nine in ten within three.
#[test]
fn standard_errors_are_of_the_size_of_the_errors() {
    const CLASSES: usize = 40;
    let data = dataset(9, 20, CLASSES);
    let rows: Vec<usize> = (0..20).collect();
    let teachers = [network(CLASSES, None, 1)];
    let student = network(CLASSES, None, 2);
    let compare = |estimator| {
        let probes = Probes::with(CLASSES, 4, estimator);
        jacobian::compare(&student, &teachers, &data, rows.clone(), &probes).unwrap().spaces
    };
    let (exact, estimated) = (compare(Estimator::Exact), compare(Estimator::Projections(32)));
    let mut within = Vec::new();
    for space in Space::ALL {
        let (exact, found) = (&exact[&space], &estimated[&space]);
        let error = found.error.as_ref().unwrap();
        assert!(exact.error.is_none());
        for (exact, found, error) in [
            (&exact.distance, &found.distance, &error.distance),
            (&exact.cosine, &found.cosine, &error.cosine),
        ] {
            let triples = exact.values().iter().zip(found.values()).zip(error.values());
            within.extend(triples.map(|((exact, found), error)| (found - exact).abs() / error));
        }
    }
    let share = |most: f32| within.iter().filter(|z| **z < most).count() as f64 / within.len() as f64;
    assert!((0.45..0.9).contains(&share(1.0)), "{}", share(1.0));
    assert!(share(3.0) > 0.9, "{}", share(3.0));
}

/// Many classes are estimated, few are not.
#[test]
fn the_number_of_classes_chooses_the_estimator() {
    assert_eq!(Probes::new(10, 0).estimator(), Estimator::Exact);
    assert_eq!(Probes::new(100, 0).estimator(), Estimator::Projections(32));
}

/// Away from kinks what the Jacobian leaves grows with the square of the step, and the change itself with the step.
#[test]
fn the_remainder_is_of_second_order() {
    const CLASSES: usize = 5;
    let teachers = [network(CLASSES, None, 1), network(CLASSES, None, 2)];
    let data = dataset(1, 6, CLASSES);
    let by_ods = BeKdOds { alpha: 0.9, tau: 1.0, eta: 4.0 };
    let rows = [0, 1, 2, 5];
    let exact = Probes::with(CLASSES, 0, Estimator::Exact);
    let found = remainder::measure(&teachers, &data, &rows, &by_ods, 3, &exact).unwrap();
    assert!((found.training_norm - 4.0 / 255.0 * (PIXELS as f64).sqrt()).abs() < 1e-12);
    assert_eq!(f64::from(found.norm[3]), f64::from(found.training_norm as f32));
    for direction in Direction::ALL {
        // Logits are affine where no unit switches: probabilities curve.
        let curve = &found.curves[&(direction, Space::Probs)];
        assert_eq!((curve.rest.len(), curve.rest.columns()), (7, 8));
        let mean = |row: &[f32]| row.iter().map(|value| f64::from(*value)).sum::<f64>() / row.len() as f64;
        let rest: Vec<f64> = curve.rest.rows().map(mean).collect();
        let change: Vec<f64> = curve.change.rows().map(mean).collect();
        let slope = |values: &[f64]| (values[3] / values[1]).log2() / 2.0;
        assert!((1.7..2.3).contains(&slope(&rest)), "{direction:?}: {rest:?}");
        assert!((0.9..1.1).contains(&slope(&change)), "{direction:?}: {change:?}");
        assert!(rest[3] < 0.5 * change[3], "{direction:?}: {rest:?} {change:?}");
    }
}
