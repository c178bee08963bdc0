//! Training on a batch in pieces: the same as on the whole, but for rounding; or refused, where the method says so.

use std::sync::atomic::{AtomicUsize, Ordering};

use methods::{Batch, Entry, Loss, Method, Optimiser, Recipe, Step, Streams, micro_batch};
use nn::loss::cross_entropy;
use nn::{Mode, NetworkSpec, Result as NnResult, SgdSettings};

use crate::clauses::{ensure, setup};
use crate::fixture::{self, BATCH};

/// A method that notes the most images of a pass.
struct Watched<'a> {
    method: &'a dyn Method,
    most: AtomicUsize,
}

impl Method for Watched<'_> {
    fn student(&self, plain: &NetworkSpec, members: usize) -> NetworkSpec {
        self.method.student(plain, members)
    }

    fn uses_teachers(&self) -> bool {
        self.method.uses_teachers()
    }

    fn recipe(&self) -> Recipe {
        self.method.recipe()
    }

    fn couples_groups(&self) -> bool {
        self.method.couples_groups()
    }

    fn loss(&self, batch: &Batch, step: &Step<'_>) -> NnResult<Loss> {
        self.most.fetch_max(batch.images.dim(0)?, Ordering::Relaxed);
        self.method.loss(batch, step)
    }
}

/// Whether pieces of two groups make the same total, whatever `couples_groups` says.
fn as_if(entry: &Entry) -> Result<bool, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    struct Cut<'a>(&'a dyn Method);
    impl Method for Cut<'_> {
        fn loss(&self, batch: &Batch, step: &Step<'_>) -> NnResult<Loss> {
            self.0.loss(batch, step)
        }
    }
    let total = |most| -> Result<f32, String> {
        let (method, student, teachers) = setup(entry)?;
        let noise = Streams { seed: 3, epoch: 1, step: 0 };
        let step = Step { student: &student, teachers: &teachers, groups: 2, noise: &noise, progress: 0.5 };
        let (loss, _) =
            micro_batch::gradient(&Cut(&*method), &fixture::batch()?, &step, most).map_err(|e| text(&e))?;
        loss.total.to_scalar().map_err(|e| text(&e))
    };
    let whole = total(None)?;
    Ok(total(Some(4)).is_ok_and(|pieces| (pieces - whole).abs() <= 1e-5 * whole.abs()))
}

/// What a few steps leave.
struct Trained {
    /// Total, cross-entropy and divergence of each step.
    losses: Vec<f32>,
    logits: Vec<f32>,
    params: Vec<f32>,
    buffers: Vec<f32>,
}

/// Steps in `groups` batch-norm groups and passes of at most `most` images.
fn train(entry: &Entry, groups: usize, most: Option<usize>) -> Result<Trained, String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let (method, student, teachers) = setup(entry)?;
    method.prepare(&student).map_err(|e| text(&e))?;
    let settings = SgdSettings { momentum: 0.9, weight_decay: 5e-4, weight_decay_fast: 0.0, nesterov: false };
    let optimiser = Optimiser { settings, lr: 0.05, lr_fast: 0.02, centre: 0.0 };
    let optimiser = method.optimiser(optimiser, student.members());
    let mut sgd = optimiser.sgd(&student);
    let (mut losses, mut logits) = (Vec::new(), Vec::new());
    let watched = Watched { method: &*method, most: AtomicUsize::new(0) };
    for step in 0..4 {
        let noise = Streams { seed: 3, epoch: 1, step };
        let step = Step { student: &student, teachers: &teachers, groups, noise: &noise, progress: 0.5 };
        let (loss, gradient) =
            micro_batch::gradient(&watched, &fixture::batch()?, &step, most).map_err(|e| text(&e))?;
        sgd.apply(&student, &gradient, optimiser.lr, optimiser.lr_fast).map_err(|e| text(&e))?;
        for part in [Some(&loss.total), Some(&loss.ce), loss.kd.as_ref()].into_iter().flatten() {
            losses.push(part.to_scalar().map_err(|e| text(&e))?);
        }
        logits = loss.logits.flatten_all().and_then(|t| t.to_vec1()).map_err(|e| text(&e))?;
    }
    let seen = watched.most.into_inner();
    ensure(seen <= most.unwrap_or(BATCH), || format!("a pass of {seen} images, at most {most:?} allowed"))?;
    let params = student.params().to_vec1().map_err(|e| text(&e))?;
    Ok(Trained { losses, logits, params, buffers: student.buffers().map_err(|e| text(&e))? })
}

/// Losses, logits, parameters and running statistics after four steps, within 1e-4 of the largest value (sums of gradients
/// are rounded in another order, by 6e-8 each, and a step carries that on); and the same bits a second time.
pub(crate) fn are_the_whole(entry: &Entry) -> Result<(), String> {
    // 7 images in groups of 3 and 4; of 1, 2, 2 and 2, of which two make a piece where 3 are allowed; of 2, 2 and 3.
    for (groups, most) in [(2, 4), (4, 2), (4, 3), (3, 3)] {
        let pieces = train(entry, groups, Some(most));
        if setup(entry)?.0.couples_groups() {
            ensure(pieces.is_err(), || "couples groups, and yet its batch is cut".to_owned())?;
            return ensure(!as_if(entry)?, || {
                "its pieces are the whole: take `couples_groups` away".to_owned()
            });
        }
        let (pieces, whole) = (pieces?, train(entry, groups, None)?);
        let again = train(entry, groups, Some(most))?;
        for (what, found, expected, again) in [
            ("losses", &pieces.losses, &whole.losses, &again.losses),
            ("logits", &pieces.logits, &whole.logits, &again.logits),
            ("parameters", &pieces.params, &whole.params, &again.params),
            ("running statistics", &pieces.buffers, &whole.buffers, &again.buffers),
        ] {
            let largest = expected.iter().fold(0.0_f32, |max, v| max.max(v.abs()));
            let off = || found.iter().zip(expected).map(|(a, b)| (a - b).abs());
            let is_near = off().all(|off| off <= 1e-4 * largest);
            ensure(found.len() == expected.len() && is_near, || {
                format!(
                    "in pieces of {most} images of {groups} groups the {what} are other than of the whole batch, by \
                     {:.1e}: is something summed over images, drawn for each image from `draws`, or made without \
                     `step.groups`? A method whose loss truly is no mean over groups says so in `couples_groups`",
                    off().fold(0.0, f32::max) / largest
                )
            })?;
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            ensure(bits(found) == bits(again), || format!("in pieces the {what} have other bits each time"))?;
        }
    }
    Ok(())
}

/// The square of the batch's cross-entropy: no mean over groups.
struct Coupled {
    says_so: bool,
}

impl Method for Coupled {
    fn student(&self, plain: &NetworkSpec, _members: usize) -> NetworkSpec {
        plain.clone()
    }

    fn uses_teachers(&self) -> bool {
        false
    }

    fn recipe(&self) -> Recipe {
        Recipe::Teacher
    }

    fn couples_groups(&self) -> bool {
        self.says_so
    }

    fn loss(&self, batch: &Batch, step: &Step<'_>) -> NnResult<Loss> {
        let logits = step.student.logits(&batch.images, Mode::Train { groups: step.groups })?;
        let ce = cross_entropy(&logits, &batch.labels)?;
        Ok(Loss { total: ce.sqr()?, ce: ce.detach(), kd: None, logits: logits.detach() })
    }
}

/// The clause finds a method that couples groups in silence, and is content with one that says so.
pub(crate) fn coupling_is_caught() -> Result<(), String> {
    let entry = |from_toml| Entry { name: "coupled", summary: "", from_toml };
    let silent = are_the_whole(&entry(|_| Ok(Box::new(Coupled { says_so: false }))));
    let message = silent.err().ok_or("a loss that couples groups is not found")?;
    ensure(message.contains("couples_groups"), || message)?;
    are_the_whole(&entry(|_| Ok(Box::new(Coupled { says_so: true }))))
}
