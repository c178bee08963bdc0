//! What every method promises.

use candle_core::Tensor;
use methods::{Entry, Method, Optimiser};
use nn::{Mode, Network, NetworkSpec, Sgd, SgdSettings};

use crate::fixture::{self, BATCH, CLASSES, MEMBERS};
use crate::{distillation, draws, perturbation, pieces, settings, teachers};

type Check = fn(&Entry) -> Result<(), String>;

pub(crate) const CLAUSES: [(&str, Check); 37] = [
    ("finite_loss_of_declared_shapes", finite_loss_of_declared_shapes),
    ("a_divergence_is_not_negative", a_divergence_is_not_negative),
    ("student_is_the_plain_network_or_its_batch_ensemble", student),
    ("the_fewest_members_are_enough", fewest_members_are_enough),
    ("same_seed_same_bits", same_seed_same_bits),
    ("a_step_remembers_none_before_it", a_step_remembers_none_before_it),
    ("a_prepared_student_sees_its_images", prepared_student_sees_its_images),
    ("what_predicts_is_of_the_student", inference_is_of_the_student),
    ("running_statistics_follow", running_statistics_follow),
    ("steps_lower_the_loss", steps_lower_the_loss),
    ("the_cross_entropy_is_of_the_logits", cross_entropy_is_of_the_logits),
    ("a_batch_in_pieces_is_the_whole_batch", pieces::are_the_whole),
    ("the_optimiser_changes_what_it_fixes", optimiser_changes_what_it_fixes),
    ("divergence_is_there_if_and_only_if_teachers_are", distillation::divergence_if_teachers),
    ("each_subnetwork_learns_from_its_own_teacher", distillation::one_to_one),
    ("the_divergence_is_from_the_teachers", distillation::divergence_is_from_the_teachers),
    ("labels_act_through_the_cross_entropy", distillation::labels_act_through_the_cross_entropy),
    ("tau_squared_keeps_the_gradients_size", distillation::tau_squared),
    ("networks_see_pixels_in_0_to_1", distillation::pixels_stay_in_range),
    ("perturbed_images_are_those_of_the_step", perturbation::is_of_the_step),
    ("the_student_sees_perturbed_images", perturbation::student_sees_them),
    ("images_that_the_student_sees_are_named", perturbation::none_is_hidden),
    ("each_image_is_perturbed_alone", perturbation::works_on_each_image_alone),
    ("small_steps_leave_an_image", perturbation::small_steps_leave_an_image),
    ("teachers_stay_as_they_are", teachers::stay_as_they_are),
    ("another_number_of_teachers_is_an_error", teachers::another_number_is_an_error),
    ("every_teacher_matters", teachers::every_one_matters),
    ("teachers_are_in_eval_mode", teachers::are_in_eval_mode),
    ("teachers_see_perturbed_images", teachers::see_perturbed_images),
    ("draws_are_of_the_batch_and_taken_once", draws::are_of_the_batch_and_taken_once),
    ("copies_of_an_image_are_perturbed_apart", draws::copies_are_perturbed_apart),
    ("alpha_weighs_cross_entropy_and_divergence", settings::alpha_weighs),
    ("weight_and_temperature_have_their_names", settings::have_their_names),
    ("every_setting_changes_loss_and_gradient", settings::every_one_changes_loss_and_gradient),
    ("no_setting_has_a_default", settings::none_has_a_default),
    ("wrong_settings_are_errors", settings::wrong_ones_are_errors),
    ("settings_are_finite", settings::are_finite),
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

pub(crate) fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

pub(crate) fn scalar(what: &str, tensor: &Tensor) -> Result<f32, String> {
    let value = tensor.to_scalar::<f32>().map_err(|e| format!("{what} is no scalar: {e}"))?;
    ensure(value.is_finite(), || format!("{what} is {value}"))?;
    Ok(value)
}

pub(crate) fn bits(tensor: &Tensor) -> Result<Vec<u32>, String> {
    let values = tensor.flatten_all().and_then(|t| t.to_vec1::<f32>()).map_err(|e| e.to_string())?;
    Ok(values.into_iter().map(f32::to_bits).collect())
}

fn finite_loss_of_declared_shapes(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let loss = fixture::loss(&*method, &student, &teachers, 3)?;
    scalar("the total", &loss.total)?;
    scalar("the cross-entropy", &loss.ce)?;
    loss.kd.as_ref().map(|kd| scalar("the divergence", kd)).transpose()?;
    let dims = [student.members(), BATCH, CLASSES];
    ensure(loss.logits.dims() == dims, || format!("logits {:?}, expected {dims:?}", loss.logits.dims()))?;
    ensure(bits(&loss.logits)?.iter().all(|b| f32::from_bits(*b).is_finite()), || {
        "logits are not finite".into()
    })
}

fn a_divergence_is_not_negative(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let Some(kd) = fixture::loss(&*method, &student, &teachers, 3)?.kd else { return Ok(()) };
    let kd = scalar("the divergence", &kd)?;
    ensure(kd > -1e-6, || format!("the divergence is {kd}"))
}

fn student(entry: &Entry) -> Result<(), String> {
    let (method, ..) = setup(entry)?;
    let student = method.student(&fixture::plain(), MEMBERS);
    let members = student.members;
    ensure(members.is_none() || members == Some(MEMBERS), || format!("the student has {members:?} members"))?;
    let plain = NetworkSpec { members, ..fixture::plain() };
    ensure(student == plain, || format!("the student is {student:?}, the plain network {plain:?}"))
}

/// With as few members as it says there is a loss, with fewer there is none.
fn fewest_members_are_enough(entry: &Entry) -> Result<(), String> {
    let (method, ..) = setup(entry)?;
    let loss = |members: usize| {
        let student = fixture::network(&method.student(&fixture::plain(), members), 1)?;
        let teachers = fixture::teachers(if method.uses_teachers() { members } else { 0 })?;
        fixture::loss(&*method, &student, &teachers, 3)
    };
    let least = method.least_members();
    scalar("the total", &loss(least).map_err(|error| format!("{least} members: {error}"))?.total)?;
    ensure(least < 2 || loss(least - 1).is_err(), || format!("fewer than {least} members do as well"))
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

/// A method's second step is what the first would have been.
fn a_step_remembers_none_before_it(entry: &Entry) -> Result<(), String> {
    let (method, ..) = setup(entry)?;
    let step = |seed: u64| {
        let (_, student, teachers) = setup(entry)?;
        bits(&fixture::loss(&*method, &student, &teachers, seed)?.total)
    };
    let first = step(3)?;
    step(4)?;
    ensure(step(3)? == first, || "the loss of a step depends on the steps before it".into())
}

/// The student is trained in train mode.
fn running_statistics_follow(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let buffers = || student.buffers().map_err(|e| e.to_string());
    let before = buffers()?;
    fixture::loss(&*method, &student, &teachers, 3)?;
    ensure(buffers()? != before, || "the student's running statistics stay as they were".into())
}

/// The loss's part `ce` is that of its `logits`.
fn cross_entropy_is_of_the_logits(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let loss = fixture::loss(&*method, &student, &teachers, 3)?;
    let expected =
        nn::loss::cross_entropy(&loss.logits, &fixture::batch()?.labels).map_err(|e| e.to_string())?;
    let (found, expected) =
        (scalar("the cross-entropy", &loss.ce)?, scalar("that of the logits", &expected)?);
    ensure((found - expected).abs() < 1e-5 * expected.abs(), || {
        format!("the cross-entropy is {found}, that of the logits {expected}")
    })
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

/// After `prepare` every subnetwork still tells images apart.
fn prepared_student_sees_its_images(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    method.prepare(&student).map_err(text)?;
    let logits = bits(&fixture::loss(&*method, &student, &teachers, 3)?.logits)?;
    for (member, rows) in logits.chunks(BATCH * CLASSES).enumerate() {
        ensure(rows.chunks(CLASSES).any(|row| row != &rows[..CLASSES]), || {
            format!("subnetwork {} says the same of every image once `prepare` has changed it", member + 1)
        })?;
    }
    Ok(())
}

/// The network that predicts, where it is another than the student: the same of the same student, of another student one of the same
/// shape that says something else.
fn inference_is_of_the_student(entry: &Entry) -> Result<(), String> {
    let (method, ..) = setup(entry)?;
    let of = |seed: u64| -> Result<Option<(NetworkSpec, Vec<u32>)>, String> {
        let student = fixture::network(&method.student(&fixture::plain(), MEMBERS), seed)?;
        let Some(network) = method.inference(&student).map_err(text)? else { return Ok(None) };
        let logits = network.frozen_logits(&fixture::batch()?.images, Mode::Eval).map_err(text)?;
        Ok(Some((network.spec().clone(), bits(&logits)?)))
    };
    let (one, again, other) = (of(1)?, of(1)?, of(2)?);
    ensure(one == again, || "one student makes two different networks that predict".into())?;
    match (one, other) {
        (None, None) => Ok(()),
        (Some(one), Some(other)) => {
            ensure(one.0 == other.0, || {
                "the network that predicts has another shape for another student".into()
            })?;
            ensure(one.1 != other.1, || {
                "the network that predicts says the same whatever the student has learned".into()
            })
        }
        _ => Err("only of some students another network predicts".into()),
    }
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
    let values = |Optimiser { settings, lr, lr_fast, centre }: Optimiser| {
        [
            ("lr", lr),
            ("lr_fast", lr_fast),
            ("momentum", settings.momentum),
            ("weight_decay", settings.weight_decay),
            ("weight_decay_fast", settings.weight_decay_fast),
            ("nesterov", f64::from(u8::from(settings.nesterov))),
            ("centre", centre),
        ]
    };
    let recipes = [of(0.02, 0.003, false), of(0.01, 0.004, true)];
    let keys = values(recipes[0]).map(|(key, _)| key);
    for (key, _) in method.fixes() {
        ensure(keys.contains(key), || format!("`{key}` is no setting of the optimiser"))?;
    }
    for members in [MEMBERS, 2 * MEMBERS] {
        let used = recipes.map(|recipe| values(method.optimiser(recipe, members)));
        for (at, key) in keys.into_iter().enumerate() {
            let asked = recipes.map(|recipe| values(recipe)[at].1);
            let used = [used[0][at].1, used[1][at].1];
            let is_fixed = method.fixes().iter().any(|(fixed, _)| *fixed == key);
            let (holds, is) = if is_fixed { (used[0] == used[1], "") } else { (used == asked, "not ") };
            ensure(holds, || {
                format!("`{key}` is {is}fixed, but {used:?} for {asked:?}, with {members} members")
            })?;
        }
    }
    Ok(())
}
