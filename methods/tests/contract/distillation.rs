//! What every method that distils promises.

use candle_core::{Device, Tensor};
use methods::{Entry, Method, Step, Streams};
use nn::Network;

use crate::clauses::{bits, ensure, scalar, setup};
use crate::fixture::{self, BATCH, CLASSES, GROUPS, MEMBERS};

/// The method with those of its settings changed that it has.
fn with(entry: &Entry, changes: &[(&str, f64)]) -> Result<Box<dyn Method>, String> {
    let mut settings = fixture::settings(entry)?;
    for (key, value) in changes {
        if let Some(setting) = settings.get_mut(*key) {
            *setting = (*value).into();
        }
    }
    fixture::method(entry, settings)
}

fn has(entry: &Entry, key: &str) -> Result<bool, String> {
    Ok(fixture::settings(entry)?.contains_key(key))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
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

pub(crate) fn another_number_of_teachers(entry: &Entry) -> Result<(), String> {
    let (method, student, _) = setup(entry)?;
    if !method.uses_teachers() {
        return Ok(());
    }
    let mut counts = vec![0];
    if student.members() > 1 {
        counts.extend([MEMBERS - 1, MEMBERS + 1]);
    }
    for count in counts {
        let loss = fixture::loss(&*method, &student, &fixture::teachers(count)?, 3);
        ensure(loss.is_err(), || format!("{count} teachers for {} members are accepted", student.members()))?;
    }
    Ok(())
}

/// Teachers and subnetworks whose logits are constants, without labels: the loss is least where teacher j is subnetwork j's.
pub(crate) fn one_to_one(entry: &Entry) -> Result<(), String> {
    const TARGETS: [[f32; CLASSES]; MEMBERS] = [[2.0, -2.0, 1.0], [-2.0, 2.0, 1.0]];
    const S: [[f32; CLASSES]; MEMBERS] = [[1.0, 1.0, 1.0], [-1.0, -1.0, 1.0]];
    let (method, student, teachers) = setup(entry)?;
    if student.members() != MEMBERS || !method.uses_teachers() {
        return Ok(());
    }
    let method = with(entry, &[("alpha", 1.0)])?;
    let make_constant = |network: &Network, bias: &[f32]| -> Result<(), String> {
        let mut state = network.state().map_err(text)?;
        for tensor in state.iter_mut().filter(|tensor| tensor.name.starts_with("classifier.fc")) {
            if tensor.name == "classifier.fc.weight" {
                tensor.values.fill(0.0);
            } else if tensor.name.contains("bias") && tensor.values.len() == bias.len() {
                tensor.values.copy_from_slice(bias);
            } else if tensor.name.ends_with(nn::params::S) {
                tensor.values.copy_from_slice(S.as_flattened());
            }
        }
        network.load_state(&state).map_err(text)
    };
    let total = |order: [usize; MEMBERS]| -> Result<f32, String> {
        let (_, student, _) = setup(entry)?;
        make_constant(&student, TARGETS.as_flattened())?;
        for (teacher, at) in teachers.iter().zip(order) {
            make_constant(teacher, &TARGETS[at])?;
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

/// Teachers whose logits are constants, so that no perturbation depends on them: another constant of any of them is another loss.
pub(crate) fn every_teacher_matters(entry: &Entry) -> Result<(), String> {
    let (method, _, teachers) = setup(entry)?;
    if !method.uses_teachers() {
        return Ok(());
    }
    let method = with(entry, &[("alpha", 1.0)])?;
    let total = |changed: Option<usize>| -> Result<Vec<u32>, String> {
        let (_, student, _) = setup(entry)?;
        for (at, teacher) in teachers.iter().enumerate() {
            let bias = if changed == Some(at) { [1.0, -1.0, 0.0] } else { [0.5, 0.0, -0.5] };
            let mut state = teacher.state().map_err(text)?;
            for tensor in &mut state {
                match tensor.name.as_str() {
                    "classifier.fc.weight" => tensor.values.fill(0.0),
                    "classifier.fc.bias" => tensor.values.copy_from_slice(&bias),
                    _ => {}
                }
            }
            teacher.load_state(&state).map_err(text)?;
        }
        bits(&fixture::loss(&*method, &student, &teachers, 3)?.total)
    };
    let before = total(None)?;
    for at in 0..teachers.len() {
        ensure(total(Some(at))? != before, || format!("what teacher {} says changes nothing", at + 1))?;
    }
    Ok(())
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
        let noise = Streams { seed: 3, epoch: 1, step: 0 };
        let step =
            Step { student: &student, teachers: &teachers, groups: GROUPS, noise: &noise, progress: 0.5 };
        bits(&method.loss(&batch, &step).map_err(text)?.total)
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

/// A teacher that is blind within [0, 1] and sees all that lies outside changes nothing, with the largest steps.
pub(crate) fn pixels_stay_in_range(entry: &Entry) -> Result<(), String> {
    let (method, ..) = setup(entry)?;
    if !method.uses_teachers() {
        return Ok(());
    }
    let method = with(entry, &[("eta", 255.0)])?;
    let total = |gain: f32, sure: f32, seed: u64| -> Result<Vec<u32>, String> {
        let (_, student, teachers) = setup(entry)?;
        let mut state = teachers[0].state().map_err(text)?;
        for tensor in &mut state {
            let values = &mut tensor.values;
            values.fill(0.0);
            match tensor.name.as_str() {
                // The first two maps are the first colour and its negative: [-2, 2] for [0, 1].
                "backbone.layers.0.conv1.weight" => (values[4], values[27 + 4]) = (1.0, -1.0),
                "backbone.layers.0.norm1.weight" => values[..2].fill(gain),
                "backbone.layers.0.norm1.bias" => values[..2].fill(-2.01 * gain),
                // Towards the third class.
                "classifier.fc.weight" => values[8..10].fill(1.0),
                "classifier.fc.bias" => values.copy_from_slice(&[sure, 0.0, 0.0]),
                name if name.ends_with("running_var") => values.fill(1.0),
                _ => {}
            }
        }
        teachers[0].load_state(&state).map_err(text)?;
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
