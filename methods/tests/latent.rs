//! LatentBE: where it starts, what one step of its optimiser does, and that the folded network predicts what the
//! averaged one does.

use candle_core::{Device, Tensor};
use methods::{Batch, Optimiser, Step, Streams, latent};
use nn::{Family, Group, Mode, Network, NetworkSpec, Precision, SgdSettings, Shortcut};
use random::{Draws, Stream};

const MEMBERS: usize = 3;

fn spec(family: Family, members: Option<usize>) -> NetworkSpec {
    NetworkSpec {
        family,
        shortcut: if family == Family::ResNet { Shortcut::Identity } else { Shortcut::Projection },
        blocks: vec![1, 1],
        in_planes: 5,
        widen: 1,
        channels: 3,
        image: 6,
        classes: 4,
        members,
        pixel_mean: vec![0.5; 3],
        pixel_std: vec![0.25; 3],
        precision: Precision::F32,
    }
}

fn draws(seed: u64) -> Draws {
    Stream::new(seed, "tests").draws(0, 0)
}

fn images(seed: u64) -> Tensor {
    let mut draws = draws(seed);
    let pixels: Vec<f32> = (0..5 * 3 * 36).map(|_| draws.uniform()).collect();
    Tensor::from_vec(pixels, (5, 3, 6, 6), &Device::Cpu).unwrap()
}

/// A student with r, s and b away from where they start, and running statistics of some images.
fn student(family: Family) -> Network {
    let student = Network::new(&spec(family, Some(MEMBERS)), 1, &Device::Cpu).unwrap();
    let mut state = student.state().unwrap();
    let mut draws = draws(2);
    for tensor in &mut state {
        if tensor.name.ends_with("alpha_be") || tensor.name.ends_with("gamma_be") {
            tensor.values.fill_with(|| 1.0 + 0.3 * draws.normal());
        } else if tensor.name.ends_with("ensemble_bias") {
            // b is in the first member's place.
            tensor.values[..4].fill_with(|| draws.normal());
        }
    }
    student.load_state(&state).unwrap();
    for _ in 0..20 {
        latent::frozen_logits(&student, &images(3), Mode::Train { groups: 1 }).unwrap();
    }
    student
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn folded_logits_are_those_of_the_averaged_network() {
    for family in [Family::ResNet, Family::PreResNet] {
        let student = student(family);
        let folded = latent::fold(&student).unwrap();
        assert_eq!(folded.spec(), &spec(family, None));

        // The same BatchEnsemble with every member's r and s at their means.
        let mut state = student.state().unwrap();
        for tensor in &mut state {
            if tensor.name.ends_with("alpha_be") || tensor.name.ends_with("gamma_be") {
                let channels = tensor.values.len() / MEMBERS;
                let mean = |c: usize| {
                    (0..MEMBERS).map(|m| tensor.values[m * channels + c]).sum::<f32>() / MEMBERS as f32
                };
                let means: Vec<f32> = (0..channels).map(mean).collect();
                tensor.values = means.repeat(MEMBERS);
            }
        }
        let averaged = Network::new(student.spec(), 0, &Device::Cpu).unwrap();
        averaged.load_state(&state).unwrap();

        let one = values(&folded.frozen_logits(&images(4), Mode::Eval).unwrap());
        let many = values(&latent::frozen_logits(&averaged, &images(4), Mode::Eval).unwrap());
        assert_eq!(many.len(), MEMBERS * one.len());
        for (index, logit) in many.iter().enumerate() {
            let expected = one[index % one.len()];
            assert!(
                (logit - expected).abs() < 1e-4 * (1.0 + expected.abs()),
                "{family:?}: {logit} {expected}"
            );
        }
        // Not by the members being alike: those differ.
        let own = values(&latent::frozen_logits(&student, &images(4), Mode::Eval).unwrap());
        assert!(own.iter().zip(&many).any(|(own, mean)| (own - mean).abs() > 0.05), "{family:?}");
    }
}

/// Member j's logits without b, plus s_j * b: the classifier is s_j * (W (r_j * x) + b).
#[test]
fn the_bias_is_shared_and_inside_s() {
    let student = student(Family::ResNet);
    let state = student.state().unwrap();
    let of = |suffix: &str| {
        state.iter().find(|t| t.name == format!("classifier.fc.{suffix}")).unwrap().values.clone()
    };
    let (bias, s) = (of("ensemble_bias"), of("gamma_be"));
    let with = values(&latent::frozen_logits(&student, &images(4), Mode::Eval).unwrap());
    let mut without = state.clone();
    without.iter_mut().filter(|t| t.name.ends_with("ensemble_bias")).for_each(|t| t.values.fill(0.0));
    student.load_state(&without).unwrap();
    let without = values(&student.frozen_logits(&images(4), Mode::Eval).unwrap());
    for (index, (with, without)) in with.iter().zip(&without).enumerate() {
        let (member, class) = (index / (5 * 4), index % 4);
        let expected = without + s[member * 4 + class] * bias[class];
        assert!((with - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{with} {expected}");
    }
}

fn method(name: &str) -> Box<dyn methods::Method> {
    let mut table: toml::Table = toml::from_str("alpha = 1.0\ntau = 4.0").unwrap();
    if name.ends_with("tdiv-sdiv") {
        table.insert("eta".to_owned(), 1.0.into());
    }
    (methods::find(name).unwrap().from_toml)(table).unwrap()
}

#[test]
fn fast_weights_start_at_one() {
    for name in ["latent-be", "latent-be-tdiv-sdiv"] {
        let student = Network::new(&spec(Family::ResNet, Some(MEMBERS)), 1, &Device::Cpu).unwrap();
        method(name).prepare(&student).unwrap();
        for tensor in student.state().unwrap() {
            if tensor.name.ends_with("_be") {
                assert!(tensor.values.iter().all(|value| *value == 1.0), "{name}: {}", tensor.name);
            }
        }
    }
}

/// One step against the protocol's words: the gradient of the loss and of wd/2 sum (1 - r)^2 / M, times M, and
/// Nesterov's first step, -rate (1 + momentum) g.
#[test]
fn a_step_is_the_protocols() {
    let student = student(Family::ResNet);
    let teachers: Vec<Network> = (10..10 + MEMBERS as u64)
        .map(|seed| Network::new(&spec(Family::ResNet, None), seed, &Device::Cpu).unwrap())
        .collect();
    let method = method("latent-be");
    let (lr, decay, momentum) = (0.1, 5e-4, 0.9);
    let settings = SgdSettings { momentum, weight_decay: decay, weight_decay_fast: 0.0, nesterov: false };
    let recipe = Optimiser { settings, lr, lr_fast: lr / 2.0, centre: 0.0 };
    let optimiser = method.optimiser(recipe, MEMBERS);
    let noise = Streams { seed: 1, epoch: 1, step: 0 };
    let step = Step { student: &student, teachers: &teachers, groups: 1, noise: &noise, progress: 0.5 };
    let labels = Tensor::new(&[0_u32, 1, 2, 3, 0], &Device::Cpu).unwrap();
    let loss = method.loss(&Batch { images: images(4), labels }, &step).unwrap();
    let gradients = loss.total.backward().unwrap();
    let gradient = values(gradients.get(student.params()).unwrap());
    let before = values(student.params());
    optimiser
        .sgd(&student)
        .apply(&student, gradients.get(student.params()).unwrap(), optimiser.lr, optimiser.lr_fast)
        .unwrap();
    let after = values(student.params());
    let m = MEMBERS as f64;
    for entry in student.layout().entries().iter().filter(|entry| entry.group != Group::Buffer) {
        for at in entry.range() {
            let (p, g) = (f64::from(before[at]), f64::from(gradient[at]));
            let g = match entry.group {
                Group::Fast => m * (g + decay / m * (p - 1.0)),
                _ => g + decay * p,
            };
            let expected = p - lr * (1.0 + momentum) * g;
            let found = f64::from(after[at]);
            assert!(
                (found - expected).abs() < 1e-5 * (1.0 + expected.abs() + g.abs()),
                "{}: {found} {expected}",
                entry.name
            );
        }
    }
}

/// To first order the step raises H(t_a, t_b) - H(s_a, s_b) by eta / 255 sqrt(D) times the gradient's norm: more than a
/// step of the same length along the negated direction.
#[test]
fn tdiv_sdiv_raises_the_teachers_disagreement_over_the_students() {
    let student = student(Family::PreResNet);
    let teachers: Vec<Network> = (10..10 + MEMBERS as u64)
        .map(|seed| Network::new(&spec(Family::PreResNet, None), seed, &Device::Cpu).unwrap())
        .collect();
    let x = images(5).affine(0.5, 0.25).unwrap();
    let own = |images: &Tensor| latent::frozen_logits(&student, images, Mode::Eval);
    let eta = 0.05;
    let perturbed = methods::perturb::tdiv_sdiv(&teachers, own, &x, (0, 2), eta).unwrap();
    // Length eta / 255 sqrt(D) for each example, as nothing is clipped here.
    let change = (&perturbed - &x).unwrap();
    for norm in values(&change.flatten_from(1).unwrap().sqr().unwrap().sum(1).unwrap().sqrt().unwrap()) {
        assert!((f64::from(norm) - eta / 255.0 * 108.0_f64.sqrt()).abs() < 1e-6, "{norm}");
    }
    let entropy = |p: &[f32], q: &[f32]| {
        let softmax = |l: &[f32]| {
            let exps: Vec<f64> = l.iter().map(|v| f64::from(*v).exp()).collect();
            let sum: f64 = exps.iter().sum();
            exps.into_iter().map(|e| e / sum).collect::<Vec<_>>()
        };
        softmax(q).iter().zip(softmax(p)).map(|(q, p)| -q * p.ln()).sum::<f64>()
    };
    // q is held at x: no gradient flows through it.
    let objective = |at: &Tensor| -> f64 {
        let teacher = |j: usize, at: &Tensor| values(&teachers[j].frozen_logits(at, Mode::Eval).unwrap());
        let subnetwork = |j: usize, at: &Tensor| values(&own(at).unwrap().narrow(0, j, 1).unwrap());
        let (ta, tb) = (teacher(0, at), teacher(2, &x));
        let (sa, sb) = (subnetwork(0, at), subnetwork(2, &x));
        (0..5)
            .map(|b| {
                let row = |l: &Vec<f32>| l[b * 4..(b + 1) * 4].to_vec();
                entropy(&row(&ta), &row(&tb)) - entropy(&row(&sa), &row(&sb))
            })
            .sum()
    };
    let opposite = (&x - &change).unwrap();
    let (up, at, down) = (objective(&perturbed), objective(&x), objective(&opposite));
    assert!(up > at && at > down, "{up} {at} {down}");
    assert!(methods::perturb::tdiv_sdiv(&teachers, own, &x, (0, 9), eta).is_err());
}
