//! The losses of the protocol (Methods) put together by hand, in f64, from the networks' logits:
//! (1 - alpha) CE + alpha tau^2 KL(teacher || student), CE on clean images, KL on perturbed ones.

use candle_core::{Device, Tensor};
use methods::perturb::{gaussian, ods};
use methods::{Batch, Step, Streams, find};
use nn::{Mode, Network};

use crate::fixture::{bits, random_images, softmax, teacher, values};

const CLASSES: usize = 3;
const BATCH: usize = 5;
const GROUPS: usize = 2;
const MEMBERS: usize = 2;
const NOISE: Streams = Streams { seed: 4, epoch: 1, step: 2 };
const ALPHA: f64 = 0.8;
const TAU: f64 = 3.0;
const ETA: f64 = 20.0;

/// Rows (member, example) of logits (M, B, K).
fn rows(logits: &Tensor) -> Vec<Vec<f64>> {
    values(logits).chunks(CLASSES).map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect()
}

/// Mean over the M * B rows of -ln softmax(row)_y.
fn cross_entropy(logits: &Tensor, labels: &[u32]) -> f64 {
    let rows = rows(logits);
    let terms = rows.iter().enumerate().map(|(n, row)| -softmax(row, 1.0)[labels[n % BATCH] as usize].ln());
    terms.sum::<f64>() / rows.len() as f64
}

/// tau^2 times the mean over rows of sum_k p_k ln(p_k / q_k).
fn distillation(targets: &[Vec<f64>], student: &Tensor) -> f64 {
    let rows = rows(student);
    let terms = rows.iter().zip(targets).map(|(row, p)| {
        let q = softmax(row, TAU);
        p.iter().zip(q).map(|(p, q)| p * (p / q).ln()).sum::<f64>()
    });
    TAU * TAU * terms.sum::<f64>() / rows.len() as f64
}

fn assert_close(what: &str, found: &Tensor, expected: f64) {
    let found = f64::from(found.to_scalar::<f32>().unwrap());
    assert!(
        (found - expected).abs() < 1e-5 * expected.abs().max(1.0),
        "{what}: {found}, expected {expected}"
    );
}

/// Runs the method `name` and the same by hand on a twin of its student.
fn check(name: &str, perturb: impl Fn(&[Network], &Tensor) -> Option<Tensor>) {
    let settings =
        |keys: &[(&str, f64)]| keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
    let from_toml = find(name).unwrap().from_toml;
    let all = [("alpha", ALPHA), ("tau", TAU), ("eta", ETA)];
    let method = from_toml(settings(&all)).or_else(|_| from_toml(settings(&all[..2]))).unwrap();
    let teachers = [teacher(CLASSES, 1), teacher(CLASSES, 2)];
    let spec = method.student(teachers[0].spec(), MEMBERS);
    let student = Network::new(&spec, 5, &Device::Cpu).unwrap();
    let twin = Network::new(&spec, 5, &Device::Cpu).unwrap();
    let labels = vec![0, 2, 1, 1, 0];
    let images = random_images(6, BATCH, 0.0, 1.0);
    let batch = Batch { images, labels: Tensor::new(labels.clone(), &Device::Cpu).unwrap() };
    let step = Step { student: &student, teachers: &teachers, groups: GROUPS, noise: &NOISE, progress: 0.5 };
    let loss = method.loss(&batch, &step).unwrap();

    let mode = Mode::Train { groups: GROUPS };
    let clean = twin.frozen_logits(&batch.images, mode).unwrap();
    let perturbed = perturb(&teachers, &batch.images);
    let distilled =
        perturbed.as_ref().map_or(clean.clone(), |images| twin.frozen_logits(images, mode).unwrap());
    let seen = perturbed.as_ref().unwrap_or(&batch.images);
    let probs = |teacher: &Network| -> Vec<Vec<f64>> {
        rows(&teacher.frozen_logits(seen, Mode::Eval).unwrap()).iter().map(|row| softmax(row, TAU)).collect()
    };
    let each: Vec<Vec<Vec<f64>>> = teachers.iter().map(probs).collect();
    let targets: Vec<Vec<f64>> = if spec.members.is_some() {
        each.concat()
    } else {
        let mean = |(a, b): (&Vec<f64>, &Vec<f64>)| a.iter().zip(b).map(|(a, b)| (a + b) / 2.0).collect();
        each[0].iter().zip(&each[1]).map(mean).collect()
    };
    let (ce, kd) = (cross_entropy(&clean, &labels), distillation(&targets, &distilled));
    assert_eq!(bits(&loss.logits), bits(&clean), "{name}: the logits are those of the clean pass");
    assert_close(name, &loss.ce, ce);
    assert_close(name, loss.kd.as_ref().unwrap(), kd);
    assert_close(name, &loss.total, (1.0 - ALPHA) * ce + ALPHA * kd);
    // The clean pass first, then the perturbed one: each moves the running statistics.
    assert_eq!(student.buffers().unwrap(), twin.buffers().unwrap(), "{name}: running statistics");
}

#[test]
fn kd() {
    check("kd", |_, _| None);
}

#[test]
fn be_kd() {
    check("be-kd", |_, _| None);
}

#[test]
fn be_kd_gaussian() {
    check("be-kd-gaussian", |_, images| Some(gaussian(images, &NOISE, ETA).unwrap()));
}

#[test]
fn be_kd_ods() {
    check("be-kd-ods", |teachers, images| {
        Some(ods(teachers, images, &NOISE, GROUPS, TAU).unwrap().perturb(ETA).unwrap())
    });
}

#[test]
fn be_kd_conf_ods() {
    check("be-kd-conf-ods", |teachers, images| {
        Some(ods(teachers, images, &NOISE, GROUPS, TAU).unwrap().perturb_by_confidence(ETA).unwrap())
    });
}
