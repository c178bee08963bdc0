//! Launch of the optimiser's step.

use super::backend::{Arg, Backend, Element, Launch, elementwise};
use crate::error::Result;

/// What one step of a group of parameters is taken with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub rate: f32,
    pub momentum: f32,
    pub decay: f32,
    /// What the parameters decay towards.
    pub centre: f32,
    pub nesterov: bool,
}

/// One step over the parameters from `start` on.
///
/// # Safety
/// The addresses must be those of all parameters, their velocity and their gradient.
pub(crate) unsafe fn step(
    backend: &dyn Backend,
    (params, velocity, grads): (u64, u64, u64),
    (start, count): (usize, usize),
    rates: Rates,
) -> Result<()> {
    let Rates { rate, momentum, decay, centre, nesterov } = rates;
    let args = [
        &[params, velocity, grads].map(Arg::At)[..],
        &[start, count].map(Arg::from),
        &[rate, momentum, decay, centre].map(Arg::Float),
        &[usize::from(nesterov).into()],
    ];
    let grid = elementwise(count);
    // SAFETY: the caller's; the kernel's own arguments.
    unsafe {
        backend.launch(&Launch {
            kernel: "sgd",
            lanes: None,
            element: Element::F32,
            grid,
            args: &args.concat(),
            // Parameters and velocity are read and written.
            bytes: 5 * count * 4,
        })
    }
}
