//! What every method promises.

use candle_core::Tensor;
use methods::{Entry, Method, Optimiser};
use nn::{Network, NetworkSpec, Sgd, SgdSettings};

use crate::fixture::{self, BATCH, CLASSES, MEMBERS};
use crate::pieces;

type Check = fn(&Entry) -> Result<(), String>;

pub(crate) const CLAUSES: [(&str, Check); 11] = [
    ("finite_loss_of_declared_shapes", finite_loss_of_declared_shapes),
    ("student_is_the_plain_network_or_its_batch_ensemble", student),
    ("same_seed_same_bits", same_seed_same_bits),
    ("teachers_stay_as_they_are", teachers_stay_as_they_are),
    ("steps_lower_the_loss", steps_lower_the_loss),
    ("divergence_is_there_if_and_only_if_teachers_are", divergence_if_teachers),
    ("alpha_0_is_the_cross_entropy", alpha_0_is_the_cross_entropy),
    ("another_number_of_teachers_is_an_error", another_number_of_teachers),
    ("wrong_settings_are_errors", wrong_settings_are_errors),
    ("a_batch_in_pieces_is_the_whole_batch", pieces::are_the_whole),
    ("the_optimiser_changes_what_it_fixes", optimiser_changes_what_it_fixes),
];

/// A method, its student, and its teachers.
type Setup = (Box<dyn Method>, Network, Vec<Network>);

/// With the fixture's settings.
pub(crate) fn setup(entry: &Entry) -> Result<Setup, String> {
    let method = fixture::method(entry, fixture::settings(entry)?)?;
    let student = fixture::network(&method.student(&fixture::plain(), MEMBERS), 1)?;
    let teachers = fixture::teachers(if method.uses_teachers() { MEMBERS } else { 0 })?;
    Ok((method, student, teachers))
}

pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

fn scalar(what: &str, tensor: &Tensor) -> Result<f32, String> {
    let value = tensor.to_scalar::<f32>().map_err(|e| format!("{what} is no scalar: {e}"))?;
    ensure(value.is_finite(), || format!("{what} is {value}"))?;
    Ok(value)
}

fn bits(tensor: &Tensor) -> Result<Vec<u32>, String> {
    let values = tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).map_err(|e| e.to_string())?;
    Ok(values.into_iter().map(f32::to_bits).collect())
}

fn finite_loss_of_declared_shapes(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let loss = fixture::loss(&*method, &student, &teachers, 3)?;
    scalar("the total", &loss.total)?;
    scalar("the cross-entropy", &loss.ce)?;
    if let Some(kd) = &loss.kd {
        let kd = scalar("the divergence", kd)?;
        ensure(kd > -1e-6, || format!("the divergence is {kd}"))?;
    }
    let dims = [student.members(), BATCH, CLASSES];
    ensure(loss.logits.dims() == dims, || format!("logits {:?}, expected {dims:?}", loss.logits.dims()))?;
    ensure(bits(&loss.logits)?.iter().all(|b| f32::from_bits(*b).is_finite()), || {
        "logits are not finite".into()
    })
}

fn student(entry: &Entry) -> Result<(), String> {
    let (method, ..) = setup(entry)?;
    let student = method.student(&fixture::plain(), MEMBERS);
    let members = student.members;
    ensure(members.is_none() || members == Some(MEMBERS), || format!("the student has {members:?} members"))?;
    let plain = NetworkSpec { members, ..fixture::plain() };
    ensure(student == plain, || format!("the student is {student:?}, the plain network {plain:?}"))
}

/// Loss, gradient, and the student's statistics after it.
fn same_seed_same_bits(entry: &Entry) -> Result<(), String> {
    let run = |threads: usize| -> Result<Vec<Vec<u32>>, String> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().map_err(|e| e.to_string())?;
        pool.install(|| {
            let (method, student, teachers) = setup(entry)?;
            let loss = fixture::loss(&*method, &student, &teachers, 5)?;
            let gradients = loss.total.backward().map_err(|e| e.to_string())?;
            let gradient = gradients.get(student.params()).ok_or("the student gets no gradient")?;
            let buffers = student.buffers().unwrap().into_iter().map(f32::to_bits).collect();
            Ok(vec![bits(&loss.total)?, bits(&loss.logits)?, bits(gradient)?, buffers])
        })
    };
    let first = run(1)?;
    ensure(first == run(1)?, || "a second run gives other bits".into())?;
    ensure(first == run(3)?, || "three threads give other bits than one".into())
}

fn teachers_stay_as_they_are(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let states =
        || teachers.iter().map(|t| t.state().map_err(|e| e.to_string())).collect::<Result<Vec<_>, _>>();
    let before = states()?;
    let loss = fixture::loss(&*method, &student, &teachers, 3)?;
    let gradients = loss.total.backward().map_err(|e| e.to_string())?;
    ensure(gradients.get(student.params()).is_some(), || "the student gets no gradient".into())?;
    let reached = teachers.iter().any(|teacher| gradients.get(teacher.params()).is_some());
    ensure(!reached, || "a teacher gets a gradient".into())?;
    ensure(states()? == before, || "a teacher's parameters or running statistics have changed".into())
}

/// The same batch and draws for every step.
fn steps_lower_the_loss(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let settings = SgdSettings { momentum: 0.9, weight_decay: 0.0, weight_decay_fast: 0.0, nesterov: false };
    let mut sgd = Sgd::new(&student, settings);
    let mut losses = Vec::new();
    for _ in 0..10 {
        let loss = fixture::loss(&*method, &student, &teachers, 3)?;
        losses.push(scalar("the total", &loss.total)?);
        sgd.step(&student, &loss.total, 0.02, 0.01).map_err(|e| e.to_string())?;
    }
    ensure(losses[9] < losses[0], || format!("the loss goes {losses:?}"))
}

fn divergence_if_teachers(entry: &Entry) -> Result<(), String> {
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

/// And alpha = 1 leaves the cross-entropy out. For methods with such a setting.
fn alpha_0_is_the_cross_entropy(entry: &Entry) -> Result<(), String> {
    let mut settings = fixture::settings(entry)?;
    if !settings.contains_key("alpha") {
        return Ok(());
    }
    for alpha in [0.0, 1.0] {
        settings.insert("alpha".into(), alpha.into());
        let method = fixture::method(entry, settings.clone())?;
        let (_, student, teachers) = setup(entry)?;
        let loss = fixture::loss(&*method, &student, &teachers, 3)?;
        let expected = if alpha == 0.0 { Some(&loss.ce) } else { loss.kd.as_ref() };
        let expected = scalar("the part", expected.ok_or("there is no divergence")?)?;
        let total = scalar("the total", &loss.total)?;
        ensure((total - expected).abs() <= 1e-6 * expected.abs(), || {
            format!("alpha = {alpha}: the total is {total}, the part {expected}")
        })?;
    }
    Ok(())
}

fn another_number_of_teachers(entry: &Entry) -> Result<(), String> {
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

/// Unknown keys, and for the known ones values out of range or of another type.
fn wrong_settings_are_errors(entry: &Entry) -> Result<(), String> {
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

/// Of a recipe's settings the optimiser replaces those that it says it fixes, whatever they were, and no other: a recipe
/// that is written down is what was trained with.
fn optimiser_changes_what_it_fixes(entry: &Entry) -> Result<(), String> {
    let (method, ..) = setup(entry)?;
    let of = |lr_fast: f64, weight_decay_fast: f64, nesterov: bool| Optimiser {
        settings: SgdSettings { momentum: 0.8, weight_decay: 5e-4, weight_decay_fast, nesterov },
        lr: 0.05,
        lr_fast,
        centre: 0.0,
    };
    let values = |Optimiser { settings, lr, lr_fast, .. }: Optimiser| {
        [
            ("lr", lr),
            ("lr_fast", lr_fast),
            ("momentum", settings.momentum),
            ("weight_decay", settings.weight_decay),
            ("weight_decay_fast", settings.weight_decay_fast),
            ("nesterov", f64::from(u8::from(settings.nesterov))),
        ]
    };
    let recipes = [of(0.02, 0.003, false), of(0.01, 0.004, true)];
    let used = recipes.map(|recipe| values(method.optimiser(recipe, MEMBERS)));
    let keys = values(recipes[0]).map(|(key, _)| key);
    for (key, _) in method.fixes() {
        ensure(keys.contains(key), || format!("`{key}` is no setting of the optimiser"))?;
    }
    for (at, key) in keys.into_iter().enumerate() {
        let asked = recipes.map(|recipe| values(recipe)[at].1);
        let used = [used[0][at].1, used[1][at].1];
        match method.fixes().iter().any(|(fixed, _)| *fixed == key) {
            true => ensure(used[0] == used[1], || format!("`{key}` is fixed, but {used:?} for {asked:?}"))?,
            false => ensure(used == asked, || format!("`{key}` is not fixed, but {used:?} for {asked:?}"))?,
        }
    }
    Ok(())
}
