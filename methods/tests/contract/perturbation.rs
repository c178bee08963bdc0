//! What every method that perturbs images promises of them.

use std::collections::BTreeSet;

use candle_core::Tensor;
use methods::perturb::Context;
use methods::{Batch, Entry, Step, Streams};
use nn::{Mode, Result as NnResult};

use crate::clauses::{bits, ensure, setup, text};
use crate::draws::{Asked, Heard};
use crate::fixture::{self, BATCH, GROUPS};

const NOISE: Streams = Streams { seed: 3, epoch: 1, step: 0 };

/// Images of the same shape within [0, 1], the same a second time; from the draws that the loss takes.
pub(crate) fn is_of_the_step(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let Some(by) = method.perturbation() else { return Ok(()) };
    let batch = fixture::batch()?;
    let images = |noise: &Heard| {
        let context = Context { teachers: &teachers, groups: GROUPS, noise, progress: 0.5 };
        by.perturb(&batch, &context).map_err(text)
    };
    let (noise, again) = (Heard::new(), Heard::new());
    let perturbed = images(&noise)?;
    let (was, is) = (batch.images.dims(), perturbed.dims());
    ensure(was == is, || format!("images {was:?} become {is:?}"))?;
    let values = bits(&perturbed)?;
    ensure(values.iter().all(|value| (0.0..=1.0).contains(&f32::from_bits(*value))), || {
        "perturbed pixels are not in [0, 1]".into()
    })?;
    ensure(values != bits(&batch.images)?, || "nothing is perturbed".into())?;
    ensure(values == bits(&images(&again)?)?, || "the same draws give other images".into())?;
    let of_loss = Heard::new();
    let step =
        Step { student: &student, teachers: &teachers, groups: GROUPS, noise: &of_loss, progress: 0.5 };
    method.loss(&batch, &step).map_err(text)?;
    let names = |asked: Vec<Asked>| asked.into_iter().map(|one| one.name).collect::<BTreeSet<_>>();
    let (asked, used) = (names(noise.asked()), names(of_loss.asked()));
    ensure(asked.is_subset(&used), || format!("images are perturbed by {asked:?}, the loss draws {used:?}"))
}

/// Running statistics tell what the student saw: the images of the method's perturbation, after or before the clean ones,
/// or alone. The loss's logits, which its cross-entropy is of, are those of the clean ones where it saw them.
pub(crate) fn student_sees_them(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let Some(by) = method.perturbation() else { return Ok(()) };
    let batch = fixture::batch()?;
    let step = Step { student: &student, teachers: &teachers, groups: GROUPS, noise: &NOISE, progress: 0.5 };
    let perturbed = by.perturb(&batch, &step.context()).map_err(text)?;
    let loss = method.loss(&batch, &step).map_err(text)?;
    let (clean, perturbed) = (&batch.images, &perturbed);
    for (seen, scored) in [(&[clean, perturbed][..], 0), (&[perturbed, clean], 1), (&[perturbed], 0)] {
        let (_, twin, _) = setup(entry)?;
        let pass = |images: &&Tensor| twin.frozen_logits(images, Mode::Train { groups: GROUPS });
        let logits = seen.iter().map(pass).collect::<NnResult<Vec<_>>>().map_err(text)?;
        if twin.buffers().map_err(text)? == student.buffers().map_err(text)? {
            return ensure(bits(&loss.logits)? == bits(&logits[scored])?, || {
                "the loss's logits are not those of the clean images".into()
            });
        }
    }
    Err("the student does not see the images of `perturbation`: its running statistics are of others".into())
}

/// A method that names no perturbation shows its student the clean images, once or twice, and no others: analyses would not see
/// those.
pub(crate) fn none_is_hidden(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    if method.perturbation().is_some() {
        return Ok(());
    }
    fixture::loss(&*method, &student, &teachers, 3)?;
    let (_, twin, _) = setup(entry)?;
    for _ in 0..2 {
        twin.frozen_logits(&fixture::batch()?.images, Mode::Train { groups: GROUPS }).map_err(text)?;
        if twin.buffers().map_err(text)? == student.buffers().map_err(text)? {
            return Ok(());
        }
    }
    Err("the student sees other images than the batch's, which `perturbation` does not name; a method that perturbs by more than \
         batch and teachers is an exception, to be named with the reason in methods/tests/contract/main.rs"
        .into())
}

/// An image becomes the same whatever the others of the batch are.
pub(crate) fn works_on_each_image_alone(entry: &Entry) -> Result<(), String> {
    let (method, _, teachers) = setup(entry)?;
    let Some(by) = method.perturbation() else { return Ok(()) };
    let batch = fixture::batch()?;
    let context = Context { teachers: &teachers, groups: GROUPS, noise: &NOISE, progress: 0.5 };
    let first = |batch: &Batch| {
        bits(&by.perturb(batch, &context).and_then(|images| Ok(images.narrow(0, 0, 1)?)).map_err(text)?)
    };
    let one = batch.images.narrow(0, 0, 1).map_err(text)?;
    let rest = batch.images.narrow(0, 1, BATCH - 1).and_then(|rest| rest.affine(-0.5, 0.8)).map_err(text)?;
    let images = Tensor::cat(&[one, rest], 0).map_err(text)?;
    ensure(first(&batch)? == first(&Batch { images, ..batch.clone() })?, || {
        "an image is perturbed otherwise beside other images: by teachers with the batch's statistics, or by a length over the \
         batch? A method that mixes images is an exception, to be named with the reason in methods/tests/contract/main.rs"
            .into()
    })
}

/// With the fixture's small settings most pixels are neither black nor white afterwards.
pub(crate) fn small_steps_leave_an_image(entry: &Entry) -> Result<(), String> {
    let (method, _, teachers) = setup(entry)?;
    let Some(by) = method.perturbation() else { return Ok(()) };
    let context = Context { teachers: &teachers, groups: GROUPS, noise: &NOISE, progress: 0.5 };
    let pixels = bits(&by.perturb(&fixture::batch()?, &context).map_err(text)?)?;
    let is_end = |pixel: &&u32| !(f32::MIN_POSITIVE..1.0).contains(&f32::from_bits(**pixel));
    let ends = pixels.iter().filter(is_end).count();
    ensure(2 * ends < pixels.len(), || {
        format!(
            "{ends} of {} perturbed pixels are 0 or 1: are steps in 1/255 of the range [0, 1]?",
            pixels.len()
        )
    })
}

/// Analyses call a method's images by its name, those of the paper and the images of the data sets by others.
pub(crate) fn names() -> Result<(), String> {
    const TAKEN: [&str; 5] = ["clean", "gaussian", "ods", "conf-ods", "test"];
    let taken = methods::registry().iter().find(|entry| TAKEN.contains(&entry.name));
    match taken {
        Some(entry) => Err(format!("{}: analyses call other images so", entry.name)),
        None => Ok(()),
    }
}
