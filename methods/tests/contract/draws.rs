//! What every method promises of its random draws.

use std::cell::RefCell;

use candle_core::{DType, Device, Tensor};
use methods::perturb::Context;
use methods::{Batch, Entry, Noise, Step, Streams};
use nn::Result as NnResult;
use random::Draws;

use crate::clauses::{bits, ensure, setup, text};
use crate::fixture::{self, BATCH, GROUPS};

/// One request for draws.
pub(crate) struct Asked {
    kind: &'static str,
    pub(crate) name: String,
    /// Of a tensor of draws.
    shape: Option<Vec<usize>>,
}

/// Draws, and what was asked for.
pub(crate) struct Heard {
    noise: Streams,
    asked: RefCell<Vec<Asked>>,
}

impl Heard {
    pub(crate) fn new() -> Self {
        Self { noise: Streams { seed: 3, epoch: 1, step: 0 }, asked: RefCell::default() }
    }

    fn note(&self, kind: &'static str, name: &str, shape: Option<&[usize]>) -> &Streams {
        let shape = shape.map(<[usize]>::to_vec);
        self.asked.borrow_mut().push(Asked { kind, name: name.to_owned(), shape });
        &self.noise
    }

    pub(crate) fn asked(self) -> Vec<Asked> {
        self.asked.into_inner()
    }
}

impl Noise for Heard {
    fn draws(&self, name: &str) -> Draws {
        self.note("draws", name, None).draws(name)
    }

    fn indices(&self, name: &str, groups: usize, count: usize) -> Vec<usize> {
        self.note("indices", name, None).indices(name, groups, count)
    }

    fn uniform(&self, name: &str, range: (f32, f32), shape: &[usize], device: &Device) -> NnResult<Tensor> {
        self.note("uniform", name, Some(shape)).uniform(name, range, shape, device)
    }

    fn normal(&self, name: &str, shape: &[usize], device: &Device) -> NnResult<Tensor> {
        self.note("normal", name, Some(shape)).normal(name, shape, device)
    }
}

/// Tensors of draws have the batch first, and no name is asked for twice in a step: it would give the same numbers again.
pub(crate) fn are_of_the_batch_and_taken_once(entry: &Entry) -> Result<(), String> {
    let (method, student, teachers) = setup(entry)?;
    let noise = Heard::new();
    let step = Step { student: &student, teachers: &teachers, groups: GROUPS, noise: &noise, progress: 0.5 };
    method.loss(&fixture::batch()?, &step).map_err(text)?;
    let all = noise.asked();
    for (at, Asked { kind, name, shape }) in all.iter().enumerate() {
        ensure(shape.as_ref().is_none_or(|shape| shape.first() == Some(&BATCH)), || {
            format!(
                "`{name}` is drawn in the shape {shape:?}: the first dimension must be the batch's {BATCH} images, so that a piece \
                 of the batch has the same draws; what all images share comes from `noise.draws`"
            )
        })?;
        if let Some(before) = all[..at].iter().find(|before| before.name == *name) {
            return Err(format!(
                "one step asks for `{name}` twice ({}, {kind}) and gets the same numbers: draw under another name (what draws by \
                 itself through `noise::Under`), or draw once and pass the tensor on",
                before.kind
            ));
        }
    }
    Ok(())
}

/// What a perturbation draws is drawn for each image: copies of one become different.
pub(crate) fn copies_are_perturbed_apart(entry: &Entry) -> Result<(), String> {
    let (method, _, teachers) = setup(entry)?;
    let Some(by) = method.perturbation() else { return Ok(()) };
    let Batch { images, labels } = fixture::batch()?;
    let first = Tensor::zeros(BATCH, DType::U32, &Device::Cpu).map_err(text)?;
    let copies = |tensor: &Tensor| tensor.index_select(&first, 0).map_err(text);
    let batch = Batch { images: copies(&images)?, labels: copies(&labels)? };
    let noise = Heard::new();
    let context = Context { teachers: &teachers, groups: 1, noise: &noise, progress: 0.5 };
    let perturbed = bits(&by.perturb(&batch, &context).map_err(text)?)?;
    if noise.asked().is_empty() || perturbed == bits(&batch.images)? {
        return Ok(());
    }
    let mut images = perturbed.chunks(perturbed.len() / BATCH);
    let one = images.next();
    ensure(images.any(|image| Some(image) != one), || {
        "copies of one image are perturbed alike, although draws are taken: all images share them".into()
    })
}
