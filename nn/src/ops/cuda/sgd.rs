//! Launch of the optimiser's step: one for all parameters of both groups.

use std::ops::Range;

use super::backend::{Arena, Arg, Backend, Buffer, Element, Launch};
use crate::error::Result;

/// Parameters that a block works on at most.
const SPAN: usize = 2048;

/// What a group of parameters is stepped with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub rate: f32,
    pub decay: f32,
    /// What the parameters decay towards.
    pub centre: f32,
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub momentum: f32,
    pub nesterov: bool,
    pub slow: Rates,
    pub fast: Rates,
}

/// How the parameters are cut for a launch: three words a block, the first parameter, how many, and whether they are fast.
pub(crate) struct Pieces {
    blocks: Buffer,
    count: usize,
    params: usize,
}

impl Pieces {
    /// Of neighbouring parameters of the same group, each with whether they are fast weights.
    pub(crate) fn new(arena: &Arena, segments: impl Iterator<Item = (Range<usize>, bool)>) -> Result<Self> {
        let (mut words, mut params) = (Vec::new(), 0);
        for (range, is_fast) in segments {
            params += range.len();
            for start in range.clone().step_by(SPAN) {
                let count = SPAN.min(range.end - start);
                words.extend([start as u32, count as u32, u32::from(is_fast)]);
            }
        }
        Ok(Self { blocks: arena.words(&words)?, count: words.len() / 3, params })
    }
}

/// Takes a step over the parameters in `pieces`.
///
/// # Safety
/// The addresses must be those of parameters, velocity and gradient, and each must hold all that the pieces name.
pub(crate) unsafe fn step(
    backend: &dyn Backend,
    pieces: &Pieces,
    (params, velocity, grads): (u64, u64, u64),
    step: Step,
) -> Result<()> {
    let rates = [step.slow, step.fast].map(|rates| [rates.rate, rates.decay, rates.centre].map(Arg::Float));
    let args = [
        &[pieces.blocks.at(), params, velocity, grads].map(Arg::At)[..],
        &[Arg::Float(step.momentum), usize::from(step.nesterov).into()],
        rates.as_flattened(),
    ];
    // SAFETY: the caller's; the kernel's own arguments.
    unsafe {
        backend.launch(&Launch {
            kernel: "sgd",
            lanes: None,
            element: Element::F32,
            grid: [pieces.count, 1, 1],
            args: &args.concat(),
            // Parameters and velocity are read and written.
            bytes: 5 * pieces.params * 4,
        })
    }
}
