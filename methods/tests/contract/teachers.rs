//! What every method that distils promises of its teachers.

use candle_core::Tensor;
use methods::perturb::Context;
use methods::{Entry, Streams};
use nn::Mode;

use crate::clauses::{bits, ensure, scalar, setup, text};
use crate::distillation::{TARGETS, has, say, softmax, with};
use crate::fixture::{self, BATCH, CLASSES, GROUPS, MEMBERS};

pub(crate) fn another_number_is_an_error(entry: &Entry) -> Result<(), String> {
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

pub(crate) fn stay_as_they_are(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let states = || teachers.iter().map(|t| t.state().map_err(text)).collect::<Result<Vec<_>, _>>();
    let before = states()?;
    let loss = fixture::loss(&*method, &student, &teachers, 3)?;
    let gradients = loss.total.backward().map_err(text)?;
    ensure(gradients.get(student.params()).is_some(), || "the student gets no gradient".into())?;
    let reached = teachers.iter().any(|teacher| gradients.get(teacher.params()).is_some());
    ensure(!reached, || "a teacher gets a gradient".into())?;
    ensure(states()? == before, || "a teacher's parameters or running statistics have changed".into())
}

/// Teachers whose logits are constants, so that no perturbation depends on them: another constant of any of them is another loss.
pub(crate) fn every_one_matters(entry: &Entry) -> Result<(), String> {
    let (method, _, teachers) = setup(entry)?;
    if !method.uses_teachers() {
        return Ok(());
    }
    let method = with(entry, &[("alpha", 1.0)])?;
    let total = |changed: Option<usize>| -> Result<Vec<u32>, String> {
        let (_, student, _) = setup(entry)?;
        for (at, teacher) in teachers.iter().enumerate() {
            say(teacher, if changed == Some(at) { &[1.0, -1.0, 0.0] } else { &[0.5, 0.0, -0.5] })?;
        }
        bits(&fixture::loss(&*method, &student, &teachers, 3)?.total)
    };
    let before = total(None)?;
    for at in 0..teachers.len() {
        ensure(total(Some(at))? != before, || format!("what teacher {} says changes nothing", at + 1))?;
    }
    Ok(())
}

/// They use their running statistics: others are another loss.
pub(crate) fn are_in_eval_mode(entry: &Entry) -> Result<(), String> {
    let (method, _, teachers) = setup(entry)?;
    if !method.uses_teachers() {
        return Ok(());
    }
    let total = || -> Result<Vec<u32>, String> {
        let (_, student, _) = setup(entry)?;
        bits(&fixture::loss(&*method, &student, &teachers, 3)?.total)
    };
    let mut before = total()?;
    for (at, teacher) in teachers.iter().enumerate() {
        let buffers: Vec<f32> =
            teacher.buffers().map_err(text)?.iter().map(|value| value * 1.5 + 0.1).collect();
        teacher.set_buffers(&buffers).map_err(text)?;
        let after = total()?;
        ensure(after != before, || {
            format!("the running statistics of teacher {} change nothing: it is not in eval mode", at + 1)
        })?;
        before = after;
    }
    Ok(())
}

/// The divergence is from what they say, in eval mode, of the images of `perturbation`: held to numbers worked out here, of
/// students whose logits are constants, with running statistics that are not the batch's.
pub(crate) fn see_perturbed_images(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    if method.perturbation().is_none() || !has(entry, "alpha")? {
        return Ok(());
    }
    let method = with(entry, &[("alpha", 1.0)])?;
    let tau = fixture::settings(entry)?.get("tau").and_then(toml::Value::as_float).unwrap_or(1.0);
    let batch = fixture::batch()?;
    let dark = (&batch.images * 0.5).map_err(text)?;
    for teacher in &teachers {
        for _ in 0..30 {
            teacher.frozen_logits(&dark, Mode::Train { groups: 1 }).map_err(text)?;
        }
    }
    let total = |logits: &[f32]| -> Result<f64, String> {
        let (_, student, _) = setup(entry)?;
        say(&student, &logits[..student.members() * CLASSES])?;
        let loss = fixture::loss(&*method, &student, &teachers, 3)?;
        scalar("the total", &loss.total).map(f64::from)
    };
    let found = total(TARGETS.as_flattened())? - total(&[0.0; MEMBERS * CLASSES])?;
    let members = student.members();
    let expected = |images: &Tensor| -> Result<f64, String> {
        let probs = |teacher: &nn::Network| -> nn::Result<Vec<[f64; CLASSES]>> {
            let logits = teacher.frozen_logits(images, Mode::Eval)?.squeeze(0)?.to_vec2::<f32>()?;
            Ok(logits.iter().map(|row| softmax(&std::array::from_fn(|k| row[k]), tau)).collect())
        };
        let p = teachers.iter().map(probs).collect::<nn::Result<Vec<_>>>().map_err(text)?;
        let mut sum = 0.0;
        for member in 0..members {
            let q = softmax(&TARGETS[member], tau);
            for image in 0..BATCH {
                for k in 0..CLASSES {
                    let mean = || p.iter().map(|teacher| teacher[image][k]).sum::<f64>() / p.len() as f64;
                    let p = if members == 1 { mean() } else { p[member][image][k] };
                    sum -= p * (q[k].ln() + (CLASSES as f64).ln());
                }
            }
        }
        Ok(tau * tau * sum / (members * BATCH) as f64)
    };
    let noise = Streams { seed: 3, epoch: 1, step: 0 };
    let context = Context { teachers: &teachers, groups: GROUPS, noise: &noise, progress: 0.5 };
    let by = method.perturbation().ok_or("other settings take the perturbation away")?;
    let of_perturbed = expected(&by.perturb(&batch, &context).map_err(text)?)?;
    let of_clean = expected(&batch.images)?;
    // What sums in f32 round.
    let enough = 2e-6 * of_perturbed.abs().max(1.0);
    let is = |value: f64| (found - value).abs() <= enough;
    ensure((of_perturbed - of_clean).abs() > 4.0 * enough, || {
        "teachers say the same of perturbed images as of clean ones".into()
    })?;
    ensure(is(of_perturbed), || {
        format!(
            "the teachers' part of the loss is {found}, that of the images of `perturbation` {of_perturbed}, of the clean ones \
             {of_clean}: the teachers see {}; a method that wants this is an exception, to be named with the reason in \
             methods/tests/contract/main.rs",
            if is(of_clean) { "the clean ones" } else { "others, or are not in eval mode" }
        )
    })
}
