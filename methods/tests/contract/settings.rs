//! What every method promises of its settings.

use std::collections::BTreeSet;

use methods::Entry;
use toml::Value;

use crate::clauses::{bits, ensure, scalar, setup};
use crate::fixture;

/// The total is (1 - alpha) times the cross-entropy and alpha times the divergence, for methods with such a setting.
pub(crate) fn alpha_weighs(entry: &Entry) -> Result<(), String> {
    let mut settings = fixture::settings(entry)?;
    if !settings.contains_key("alpha") {
        return Ok(());
    }
    for alpha in [0.0_f32, 0.25, 1.0] {
        settings.insert("alpha".into(), alpha.into());
        let method = fixture::method(entry, settings.clone())?;
        let (_, student, teachers) = setup(entry)?;
        let loss = fixture::loss(&*method, &student, &teachers, 3)?;
        let ce = scalar("the cross-entropy", &loss.ce)?;
        let kd = scalar("the divergence", &loss.kd.ok_or("there is no divergence")?)?;
        let (total, expected) = (scalar("the total", &loss.total)?, (1.0 - alpha) * ce + alpha * kd);
        ensure((total - expected).abs() <= 1e-6 * expected.abs(), || {
            format!(
                "alpha = {alpha}: the total is {total}, not {expected} of cross-entropy {ce} and divergence {kd}"
            )
        })?;
    }
    Ok(())
}

/// Where there are teachers, the weight of their part and the temperature have the names by which clauses know them.
pub(crate) fn have_their_names(entry: &Entry) -> Result<(), String> {
    let (method, ..) = setup(entry)?;
    if !method.uses_teachers() {
        return Ok(());
    }
    let settings = fixture::settings(entry)?;
    for (key, what) in [("alpha", "the weight of the divergence"), ("tau", "the temperature")] {
        ensure(settings.contains_key(key), || {
            format!(
                "there is no setting `{key}`: clauses know {what} by that name; a method without one is an exception, to be named \
                 with the reason in methods/tests/contract/main.rs"
            )
        })?;
    }
    Ok(())
}

/// Another value is another loss, and moves the student elsewhere; of those that have nothing to do with a perturbation also
/// without one.
pub(crate) fn every_one_changes_loss_and_gradient(entry: &Entry) -> Result<(), String> {
    let step = |settings: toml::Table| -> Result<[Vec<u32>; 2], String> {
        let (_, student, teachers) = setup(entry)?;
        let total = fixture::loss(&*fixture::method(entry, settings)?, &student, &teachers, 3)?.total;
        let gradients = total.backward().map_err(|e| e.to_string())?;
        let gradient = gradients.get(student.params()).ok_or("the student gets no gradient")?;
        Ok([bits(&total)?, bits(gradient)?])
    };
    let settings = fixture::settings(entry)?;
    let mut still = settings.clone();
    if let Some(eta) = still.get_mut("eta") {
        *eta = 0.0.into();
    }
    for (settings, keys) in [(&settings, None), (&still, Some(["alpha", "tau"]))] {
        let before = step(settings.clone())?;
        for key in settings.keys().filter(|key| keys.is_none_or(|keys| keys.contains(&key.as_str()))) {
            let mut changed = settings.clone();
            changed.insert(key.clone(), other(&settings[key])?);
            let after = step(changed)?;
            for (what, before, after) in
                [("loss", &before[0], &after[0]), ("gradient", &before[1], &after[1])]
            {
                ensure(before != after, || {
                    format!("another `{key}` gives the same {what}; with {settings}")
                })?;
            }
        }
    }
    Ok(())
}

/// Half of a number, the opposite of a truth.
fn other(value: &Value) -> Result<Value, String> {
    match value {
        Value::Float(value) => Ok(Value::Float(value / 2.0)),
        Value::Integer(value) => Ok(Value::Integer(value + 1)),
        Value::Boolean(value) => Ok(Value::Boolean(!value)),
        _ => Err(format!("say in methods/tests/contract/settings.rs, `other`, what else {value} can be")),
    }
}

/// What a run was trained with is written in its experiment file: serde knows no key but those that it asks for.
pub(crate) fn none_has_a_default(entry: &Entry) -> Result<(), String> {
    let settings = fixture::settings(entry)?;
    let mut table = settings.clone();
    table.insert("no_such_setting".into(), 1.0.into());
    let error = (entry.from_toml)(table).err().ok_or("an unknown key is accepted")?;
    // unknown field `no_such_setting`, expected one of `alpha`, `tau`
    let known: BTreeSet<&str> = error.message().split('`').skip(3).step_by(2).collect();
    let asked: BTreeSet<&str> = settings.keys().map(String::as_str).collect();
    ensure(known == asked, || format!("it knows {known:?} and asks for {asked:?}"))
}

/// Unknown keys, and for the known ones values out of range or of another type.
pub(crate) fn wrong_ones_are_errors(entry: &Entry) -> Result<(), String> {
    let good = fixture::settings(entry)?;
    let wrong: [(&str, &[f64]); 3] = [
        ("alpha", &[-0.1, 1.1, f64::NAN]),
        ("tau", &[0.0, -1.0, f64::INFINITY, f64::NAN]),
        ("eta", &[-1.0, 256.0, f64::NAN]),
    ];
    for (key, values) in wrong.into_iter().filter(|(key, _)| good.contains_key(*key)) {
        for value in values {
            let mut table = good.clone();
            table.insert(key.to_owned(), (*value).into());
            let error = (entry.from_toml)(table).err().ok_or(format!("{key} = {value} is accepted"))?;
            ensure(error.to_string().contains(key), || format!("the error does not name `{key}`: {error}"))?;
        }
    }
    for (key, value) in [("no_such_setting", 1.0.into()), ("alpha", toml::Value::from("text"))] {
        let mut table = good.clone();
        table.insert(key.to_owned(), value);
        ensure((entry.from_toml)(table).is_err(), || format!("`{key}` is accepted"))?;
    }
    Ok(())
}

/// No number may be infinite or none.
pub(crate) fn are_finite(entry: &Entry) -> Result<(), String> {
    let settings = fixture::settings(entry)?;
    for key in settings.iter().filter(|(_, value)| value.is_float()).map(|(key, _)| key) {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut table = settings.clone();
            table.insert(key.clone(), value.into());
            ensure((entry.from_toml)(table).is_err(), || format!("{key} = {value} is accepted"))?;
        }
    }
    Ok(())
}
