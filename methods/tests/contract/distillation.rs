//! What every method that distils promises.

use candle_core::{Device, Tensor};
use methods::{Entry, Method};
use nn::Network;

use crate::clauses::{bits, ensure, scalar, setup, text};
use crate::fixture::{self, BATCH, CLASSES, MEMBERS};

/// The method with those of its settings changed that it has.
pub(crate) fn with(entry: &Entry, changes: &[(&str, f64)]) -> Result<Box<dyn Method>, String> {
    let mut settings = fixture::settings(entry)?;
    for (key, value) in changes {
        if let Some(setting) = settings.get_mut(*key) {
            *setting = (*value).into();
        }
    }
    fixture::method(entry, settings)
}

pub(crate) fn has(entry: &Entry, key: &str) -> Result<bool, String> {
    Ok(fixture::settings(entry)?.contains_key(key))
}

pub(crate) fn divergence_if_teachers(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let loss = fixture::loss(&*method, &student, &teachers, 3)?;
    let (uses, has) = (method.uses_teachers(), loss.kd.is_some());
    ensure(uses == has, || format!("uses teachers: {uses}, has a divergence: {has}"))?;
    if !uses {
        let (total, ce) = (scalar("the total", &loss.total)?, scalar("the cross-entropy", &loss.ce)?);
        ensure(total == ce, || format!("without teachers the total is {total} and the cross-entropy {ce}"))?;
    }
    Ok(())
}

/// Logits that subnetworks can be made to say, whether their classifier adds a bias each or scales a common one by [`S`].
pub(crate) const TARGETS: [[f32; CLASSES]; MEMBERS] = [[2.0, -2.0, 1.0], [-2.0, 2.0, 1.0]];
const S: [[f32; CLASSES]; MEMBERS] = [[1.0, 1.0, 1.0], [-1.0, -1.0, 1.0]];

/// Makes a network say `logits` to every image: (CLASSES) for a plain one, (MEMBERS, CLASSES) for a BatchEnsemble.
pub(crate) fn say(network: &Network, logits: &[f32]) -> Result<(), String> {
    let mut state = network.state().map_err(text)?;
    for tensor in state.iter_mut().filter(|tensor| tensor.name.starts_with("classifier.fc")) {
        if tensor.name == "classifier.fc.weight" {
            tensor.values.fill(0.0);
        } else if tensor.name.contains("bias") && tensor.values.len() == logits.len() {
            tensor.values.copy_from_slice(logits);
        } else if tensor.name.ends_with(nn::params::S) {
            tensor.values.copy_from_slice(S.as_flattened());
        }
    }
    network.load_state(&state).map_err(text)
}

/// Teachers and subnetworks whose logits are constants, without labels: the loss is least where teacher j is subnetwork j's.
pub(crate) fn one_to_one(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    if student.members() != MEMBERS || !method.uses_teachers() {
        return Ok(());
    }
    let method = with(entry, &[("alpha", 1.0)])?;
    let total = |order: [usize; MEMBERS]| -> Result<f32, String> {
        let (_, student, _) = setup(entry)?;
        say(&student, TARGETS.as_flattened())?;
        for (teacher, at) in teachers.iter().zip(order) {
            say(teacher, &TARGETS[at])?;
        }
        scalar("the total", &fixture::loss(&*method, &student, &teachers, 3)?.total)
    };
    let own = total([0, 1])?;
    for order in [[1, 0], [0, 0], [1, 1]] {
        let other = total(order)?;
        ensure(own + 0.1 < other, || {
            format!("the loss is {own} with each subnetwork's own teacher, {other} with teachers {order:?}")
        })?;
    }
    Ok(())
}

/// Where the loss is the divergence alone, and all logits are constants: tau^2 KL(p || softmax(S / tau)), the mean over
/// subnetworks, p = softmax(T_j / tau) or, for a plain student, the mean of these. Up to what no student changes, so that a
/// cross-entropy is one.
pub(crate) fn divergence_is_from_the_teachers(entry: &Entry) -> Result<(), String> {
    const TEACHERS: [[f32; CLASSES]; MEMBERS] = [[3.0, 0.5, -1.0], [-0.5, 1.5, 2.5]];
    const TAU: f64 = 2.0;
    if !has(entry, "alpha")? {
        return Ok(());
    }
    let method = with(entry, &[("alpha", 1.0), ("tau", TAU)])?;
    let tau = if has(entry, "tau")? { TAU } else { 1.0 };
    let (_, student, teachers) = setup(entry)?;
    let (members, says) = (student.members(), TARGETS.as_flattened());
    let total = |logits: &[f32]| -> Result<f64, String> {
        let (_, student, _) = setup(entry)?;
        say(&student, &logits[..members * CLASSES])?;
        scalar("the total", &fixture::loss(&*method, &student, &teachers, 3)?.total).map(f64::from)
    };
    for (teacher, logits) in teachers.iter().zip(&TEACHERS) {
        say(teacher, logits)?;
    }
    let found = total(says)? - total(&[0.0; MEMBERS * CLASSES])?;
    // KL(p || softmax(S / tau)) - KL(p || 1 / K) = -sum_k p_k ln softmax(S / tau)_k - ln K
    let of = |member: usize| {
        let q = softmax(&TARGETS[member], tau);
        let p = TEACHERS.map(|teacher| softmax(&teacher, tau));
        let p = |k: usize| if members == 1 { (p[0][k] + p[1][k]) / 2.0 } else { p[member][k] };
        (0..CLASSES).map(|k| -p(k) * q[k].ln()).sum::<f64>() - (CLASSES as f64).ln()
    };
    let expected = tau * tau * (0..members).map(of).sum::<f64>() / members as f64;
    let near = |value: f64| (found - value).abs() < 1e-4 * value.abs();
    // KL(softmax(S / tau) || p) - KL(1 / K || p)
    let reversed = |member: usize| {
        let q = softmax(&TARGETS[member], tau);
        let p = TEACHERS.map(|teacher| softmax(&teacher, tau));
        let p = |k: usize| if members == 1 { (p[0][k] + p[1][k]) / 2.0 } else { p[member][k] };
        (0..CLASSES)
            .map(|k| q[k] * (q[k] / p(k)).ln() + (CLASSES as f64 * p(k)).ln() / CLASSES as f64)
            .sum::<f64>()
    };
    let reversed = tau * tau * (0..members).map(reversed).sum::<f64>() / members as f64;
    let (m, b, k) = (members as f64, BATCH as f64, CLASSES as f64);
    let mistakes = [
        (reversed, "that of tau^2 KL(student || teacher)".to_owned()),
        (expected / (tau * tau), "it lacks the factor tau^2".to_owned()),
        (expected * tau * tau, "it has the factor tau^2 twice".to_owned()),
        (expected * m * b, "it is summed over the M * B rows, not averaged".to_owned()),
        (expected * m, "it is summed over subnetworks, not averaged".to_owned()),
        (expected * b, "it is summed over images, not averaged".to_owned()),
        (expected / k, "it is averaged over classes, not summed".to_owned()),
    ];
    let mistake = mistakes.into_iter().find(|(value, _)| near(*value));
    let what = mistake.map_or_else(|| format!("{:.4} times as much", found / expected), |(_, what)| what);
    ensure(near(expected), || {
        format!(
            "the divergence's difference between two students is {found}, that of tau^2 KL(teacher || student) {expected}: {what}; a \
             method that takes another one on purpose is an exception, to be named with the reason in methods/tests/contract/main.rs"
        )
    })
}

pub(crate) fn softmax(logits: &[f32; CLASSES], tau: f64) -> [f64; CLASSES] {
    let weights = logits.map(|logit| (f64::from(logit) / tau).exp());
    weights.map(|weight| weight / weights.iter().sum::<f64>())
}

/// Where the loss is the divergence alone, other labels give the same.
pub(crate) fn labels_act_through_the_cross_entropy(entry: &Entry) -> Result<(), String> {
    if !has(entry, "alpha")? {
        return Ok(());
    }
    let method = with(entry, &[("alpha", 1.0)])?;
    let total = |shift: u32| -> Result<Vec<u32>, String> {
        let (_, student, teachers) = setup(entry)?;
        let mut batch = fixture::batch()?;
        let labels: Vec<u32> = batch.labels.to_vec1().map_err(text)?;
        let labels: Vec<u32> = labels.into_iter().map(|label| (label + shift) % CLASSES as u32).collect();
        batch.labels = Tensor::from_vec(labels, BATCH, &Device::Cpu).map_err(text)?;
        bits(&fixture::loss_on(&batch, &*method, &student, &teachers, 3)?.total)
    };
    ensure(total(0)? == total(1)?, || {
        "at alpha = 1 the labels change the loss; a method that makes its images with them is an exception, to be named with the \
         reason in methods/tests/contract/main.rs"
            .into()
    })
}

/// At high temperatures the divergence's gradient by logits falls as 1 / tau^2, which tau^2 makes up for (Hinton et al. 2015).
pub(crate) fn tau_squared(entry: &Entry) -> Result<(), String> {
    if !has(entry, "tau")? {
        return Ok(());
    }
    let norm = |tau: f64| -> Result<f64, String> {
        let method = with(entry, &[("alpha", 1.0), ("tau", tau)])?;
        let (_, student, teachers) = setup(entry)?;
        let loss = fixture::loss(&*method, &student, &teachers, 3)?;
        let gradients = loss.total.backward().map_err(text)?;
        let gradient = gradients.get(student.params()).ok_or("the student gets no gradient")?;
        let gradient: Vec<f32> = gradient.to_vec1().map_err(text)?;
        Ok(gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt())
    };
    let (low, high) = (norm(50.0)?, norm(100.0)?);
    ensure((0.8..1.25).contains(&(high / low)), || {
        format!("the gradient's norm is {low} at tau = 50 and {high} at tau = 100")
    })
}

/// A teacher that is blind within [0.5 - range, 0.5 + range] and sees what lies outside as the third class, with `gain`; `sure`
/// of the first class is what it says else.
fn look_outside(teacher: &Network, range: f32, gain: f32, sure: f32) -> Result<(), String> {
    let mut state = teacher.state().map_err(text)?;
    for tensor in &mut state {
        let values = &mut tensor.values;
        values.fill(0.0);
        match tensor.name.as_str() {
            // The first two maps are the first colour and its negative: [-2, 2] for [0, 1].
            "backbone.layers.0.conv1.weight" => (values[4], values[27 + 4]) = (1.0, -1.0),
            "backbone.layers.0.norm1.weight" => values[..2].fill(gain),
            "backbone.layers.0.norm1.bias" => values[..2].fill(-(4.0 * range + 0.01) * gain),
            // Towards the third class.
            "classifier.fc.weight" => values[8..10].fill(1.0),
            "classifier.fc.bias" => values.copy_from_slice(&[sure, 0.0, 0.0]),
            name if name.ends_with("running_var") => values.fill(1.0),
            _ => {}
        }
    }
    teacher.load_state(&state).map_err(text)
}

/// A teacher that is blind within [0, 1] and sees all that lies outside changes nothing, with the largest steps.
pub(crate) fn pixels_stay_in_range(entry: &Entry) -> Result<(), String> {
    let (method, ..) = setup(entry)?;
    if !method.uses_teachers() {
        return Ok(());
    }
    let method = with(entry, &[("eta", 255.0)])?;
    let total = |gain: f32, sure: f32, seed: u64| -> Result<Vec<u32>, String> {
        let (_, student, teachers) = setup(entry)?;
        look_outside(&teachers[0], 0.5, gain, sure)?;
        bits(&fixture::loss(&*method, &student, &teachers, seed)?.total)
    };
    // Unsure and sure: whichever of the teachers perturbs, this one looks at what another one made.
    for (sure, seed) in [0.1, 10.0].into_iter().flat_map(|sure| (0..8).map(move |seed| (sure, seed))) {
        ensure(total(0.0, sure, seed)? == total(1000.0, sure, seed)?, || {
            "a teacher sees pixels outside [0, 1]".into()
        })?;
    }
    Ok(())
}
