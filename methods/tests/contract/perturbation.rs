//! What every method that perturbs images promises of them.

use std::cell::RefCell;
use std::collections::BTreeSet;

use candle_core::{Device, Tensor};
use methods::perturb::Context;
use methods::{Entry, Noise, Step, Streams};
use nn::{Mode, Result as NnResult};
use random::Draws;

use crate::clauses::{bits, ensure, setup};
use crate::fixture::{self, GROUPS};

/// Draws, and the names that were asked for.
struct Heard {
    noise: Streams,
    names: RefCell<BTreeSet<String>>,
}

impl Heard {
    fn new() -> Self {
        Self { noise: Streams { seed: 3, epoch: 1, step: 0 }, names: RefCell::default() }
    }

    fn of(&self, name: &str) -> &Streams {
        self.names.borrow_mut().insert(name.to_owned());
        &self.noise
    }
}

impl Noise for Heard {
    fn draws(&self, name: &str) -> Draws {
        self.of(name).draws(name)
    }

    fn indices(&self, name: &str, groups: usize, count: usize) -> Vec<usize> {
        self.of(name).indices(name, groups, count)
    }

    fn uniform(&self, name: &str, range: (f32, f32), shape: &[usize], device: &Device) -> NnResult<Tensor> {
        self.of(name).uniform(name, range, shape, device)
    }

    fn normal(&self, name: &str, shape: &[usize], device: &Device) -> NnResult<Tensor> {
        self.of(name).normal(name, shape, device)
    }
}

/// Images of the same shape within [0, 1], the same a second time; from the draws that the loss takes.
pub(crate) fn is_of_the_step(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let Some(by) = method.perturbation() else { return Ok(()) };
    let batch = fixture::batch()?;
    let images = |noise: &Heard| {
        let context = Context { teachers: &teachers, groups: GROUPS, noise, progress: 0.5 };
        by.perturb(&batch, &context).map_err(|e| e.to_string())
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
    method.loss(&batch, &step).map_err(|e| e.to_string())?;
    let (asked, used) = (noise.names.into_inner(), of_loss.names.into_inner());
    ensure(asked.is_subset(&used), || format!("images are perturbed by {asked:?}, the loss draws {used:?}"))
}

/// Running statistics tell what the student saw: the images of the method's perturbation, after or before the clean ones,
/// or alone. The loss's logits, which its cross-entropy is of, are those of the clean ones where it saw them.
pub(crate) fn student_sees_them(entry: &Entry) -> Result<(), String> {
    let text = |e: nn::Error| e.to_string();
    let (method, student, teachers) = setup(entry)?;
    let Some(by) = method.perturbation() else { return Ok(()) };
    let batch = fixture::batch()?;
    let noise = Streams { seed: 3, epoch: 1, step: 0 };
    let step = Step { student: &student, teachers: &teachers, groups: GROUPS, noise: &noise, progress: 0.5 };
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

/// Analyses call a method's images by its name, those of the paper and the images of the data sets by others.
pub(crate) fn names() -> Result<(), String> {
    const TAKEN: [&str; 5] = ["clean", "gaussian", "ods", "conf-ods", "test"];
    let taken = methods::registry().iter().find(|entry| TAKEN.contains(&entry.name));
    match taken {
        Some(entry) => Err(format!("{}: analyses call other images so", entry.name)),
        None => Ok(()),
    }
}
