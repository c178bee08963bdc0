//! Training steps of every method from a given state, on given batches and draws.

use anyhow::{Context, anyhow, ensure};
use candle_core::{Device, Tensor};
use methods::{Batch, Step};
use nn::{Network, Sgd, SgdSettings};
use serde::Deserialize;

use super::case::Case;
use super::network::{Recorded, image_size};

/// The optimiser of a `train` case. A plain student has no fast weights, so that nothing need be said of them.
#[derive(Deserialize)]
struct Optimizer {
    momentum: f64,
    lr: f64,
    weight_decay: f64,
    lr_fast: Option<f64>,
    weight_decay_fast: Option<f64>,
    momentum_fast: Option<f64>,
    #[serde(default)]
    fast_suffixes: Option<Vec<String>>,
    #[serde(default)]
    nesterov: bool,
}

pub(crate) fn check(case: &mut Case, device: &Device) -> anyhow::Result<()> {
    let settings: Optimizer =
        serde_json::from_value(case.setting("optimizer").clone()).context("`optimizer`")?;
    let images = case.tensor("in.images")?.clone();
    let size = image_size(&images)?;
    let student = case.network("student", size, Some("student."), device)?;
    let is_plain = student.members() == 1;
    let fast = |name: &str, value: Option<f64>| match value {
        Some(value) => Ok(value),
        None if is_plain => Ok(0.0),
        None => Err(anyhow!("case.json: `optimizer.{name}` should be a number")),
    };
    let (lr_fast, weight_decay_fast) =
        (fast("lr_fast", settings.lr_fast)?, fast("weight_decay_fast", settings.weight_decay_fast)?);
    ensure!(
        is_plain || settings.momentum_fast.is_none_or(|momentum| momentum == settings.momentum),
        "expected one momentum for both groups"
    );
    let mut suffixes = settings.fast_suffixes.unwrap_or_default();
    suffixes.sort();
    ensure!(is_plain || suffixes == ["alpha_be", "gamma_be"], "expected fast weights alpha_be and gamma_be");
    let mut teachers: Vec<Network> = Vec::new();
    if !case.setting("teacher").is_null() {
        while !case.state(&format!("teacher.{}.", teachers.len())).is_empty() {
            teachers.push(case.network(
                "teacher",
                size,
                Some(&format!("teacher.{}.", teachers.len())),
                device,
            )?);
        }
    }
    let method = method(case)?;
    let groups = if case.setting("bn_groups").is_null() { 1 } else { case.count("bn_groups")? };
    let mut sgd = Sgd::new(
        &student,
        SgdSettings {
            momentum: settings.momentum,
            weight_decay: settings.weight_decay,
            weight_decay_fast,
            nesterov: settings.nesterov,
        },
    );
    let (mut totals, mut ces, mut kds) = (Vec::new(), Vec::new(), Vec::new());
    for step in 0..case.count("steps")? {
        let labels = case.tensor("in.labels")?.at(step)?.labels();
        let batch = Batch { images: images.at(step)?.tensor(device)?, labels: Tensor::new(labels, device)? };
        let given = |name: &str| case.has(name).then(|| case.tensor(name)?.at(step)).transpose();
        let noise = Recorded {
            teacher_index: given("in.teacher_index")?
                .map(|index| index.values.iter().map(|v| *v as usize).collect())
                .unwrap_or_default(),
            weights: given("in.w")?,
            gaussian: given("in.noise")?,
        };
        let loss = method
            .loss(
                &batch,
                &Step { student: &student, teachers: &teachers, groups, noise: &noise, progress: 0.0 },
            )
            .with_context(|| format!("step {step}"))?;
        totals.push(loss.total.to_scalar::<f32>()?);
        ces.push(loss.ce.to_scalar::<f32>()?);
        kds.push(loss.kd.as_ref().map_or(Ok(0.0), Tensor::to_scalar::<f32>)?);
        sgd.step(&student, &loss.total, settings.lr, lr_fast)?;
    }
    case.compare("loss", &totals)?;
    case.compare("loss_ce", &ces)?;
    case.compare("loss_kd", &kds)?;
    for tensor in student.state()? {
        case.compare(&format!("student.{}", tensor.name), &tensor.values)?;
    }
    Ok(())
}

/// The registry's method under the official name, with those of the case's settings that it has.
fn method(case: &Case) -> anyhow::Result<Box<dyn methods::Method>> {
    let official = case.text("method")?;
    let name = match official {
        "de" => "teacher".to_owned(),
        "kd_single" => "kd".to_owned(),
        other => other.replace('_', "-"),
    };
    let entry = methods::find(&name).with_context(|| format!("unknown method `{official}`"))?;
    let mut table = toml::Table::new();
    if !matches!(name.as_str(), "teacher" | "be") {
        table.insert("alpha".to_owned(), case.number("alpha")?.into());
        table.insert("tau".to_owned(), case.number("temperature")?.into());
    }
    if matches!(name.as_str(), "be-kd-gaussian" | "be-kd-ods" | "be-kd-conf-ods") {
        table.insert("eta".to_owned(), case.number("eta_255")?.into());
    }
    Ok((entry.from_toml)(table)?)
}
