//! Stochastic gradient descent with momentum, weight decay and the two groups of a BatchEnsemble.

use std::sync::{Mutex, MutexGuard, PoisonError};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Tensor};
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::network::Network;
#[cfg(feature = "cuda")]
use crate::ops::cuda::{
    self,
    backend::Buffer,
    sgd::{Pieces, Rates, Step},
};
use crate::params::Group;

/// What does not change from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdSettings {
    /// Momentum of both groups (protocol: 0.9).
    pub momentum: f64,
    /// Weight decay of the slow weights, norms and biases included (protocol: 5e-4).
    pub weight_decay: f64,
    /// Weight decay of the fast weights (protocol: 0).
    pub weight_decay_fast: f64,
    /// Nesterov's variant (protocol: no).
    pub nesterov: bool,
}

/// The optimiser of one network: g += decay * p; v = momentum * v + g; p -= rate * v (g + momentum * v with Nesterov).
///
/// This is the order of PyTorch's SGD. Parameters, momentum and gradient are read once and written once a step.
pub struct Sgd {
    settings: SgdSettings,
    /// What the fast weights decay towards.
    centre: f32,
    velocity: Mutex<Velocity>,
    /// Neighbouring tensors of the same group.
    segments: Vec<(std::ops::Range<usize>, Group)>,
}

/// The velocity, where the last step was taken.
enum Velocity {
    Host(Vec<f32>),
    #[cfg(feature = "cuda")]
    Cuda(Buffer, Pieces),
}

impl Sgd {
    fn velocity(&self) -> MutexGuard<'_, Velocity> {
        self.velocity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Length of the velocity.
    fn len(&self) -> usize {
        self.segments.iter().map(|(range, _)| range.len()).sum()
    }

    /// An optimiser with zero velocity.
    pub fn new(network: &Network, settings: SgdSettings) -> Self {
        let mut segments: Vec<(std::ops::Range<usize>, Group)> = Vec::new();
        for entry in network.layout().entries().iter().filter(|entry| entry.group != Group::Buffer) {
            match segments.last_mut() {
                Some((range, group)) if *group == entry.group && range.end == entry.offset => {
                    range.end = entry.range().end;
                }
                _ => segments.push((entry.range(), entry.group)),
            }
        }
        let velocity = Mutex::new(Velocity::Host(vec![0.0; network.layout().parameter_count()]));
        Self { settings, centre: 0.0, velocity, segments }
    }

    /// The same with the fast weights decaying towards `centre` instead of 0 (LatentBE: 1).
    #[must_use]
    pub fn decaying_towards(self, centre: f64) -> Self {
        Self { centre: centre as f32, ..self }
    }

    /// Goes back from `loss` and takes one step at rate `lr` (slow) and `lr_fast`.
    ///
    /// # Errors
    /// Where the loss does not depend on the network's parameters, or the device fails.
    pub fn step(&mut self, network: &Network, loss: &Tensor, lr: f64, lr_fast: f64) -> Result<()> {
        let gradients = loss.backward()?;
        let Some(gradient) = gradients.get(network.params()) else {
            return Err(Error::State("the loss does not depend on the network's parameters".to_owned()));
        };
        self.apply(network, gradient, lr, lr_fast)
    }

    /// Takes one step along a gradient of all parameters in the layout's order.
    ///
    /// # Errors
    /// [`Error::Shape`] where the gradient has another length, or the network another than this optimiser's.
    pub fn apply(&mut self, network: &Network, gradient: &Tensor, lr: f64, lr_fast: f64) -> Result<()> {
        let (count, own) = (network.layout().parameter_count(), self.len());
        if gradient.dims() != [count] || count != own {
            return Err(Error::Shape {
                operation: "sgd",
                expected: format!(
                    "a network and a gradient of {own} parameters, and the network has {count}"
                ),
                found: gradient.dims().to_vec(),
            });
        }
        Ok(network.params().inplace_op2(&gradient.contiguous()?, &Update { sgd: self, lr, lr_fast })?)
    }

    /// A copy of the velocity, for checkpoints.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn momentum(&self) -> Result<Vec<f32>> {
        match &*self.velocity() {
            Velocity::Host(values) => Ok(values.clone()),
            #[cfg(feature = "cuda")]
            Velocity::Cuda(buffer, _) => buffer.read(self.len()),
        }
    }

    /// Replaces the velocity.
    ///
    /// # Errors
    /// [`Error::Shape`] where its length is another.
    pub fn load_momentum(&mut self, values: &[f32]) -> Result<()> {
        if values.len() != self.len() {
            return Err(Error::Shape {
                operation: "load_momentum",
                expected: format!("{} values", self.len()),
                found: vec![values.len()],
            });
        }
        *self.velocity() = Velocity::Host(values.to_vec());
        Ok(())
    }
}

struct Update<'a> {
    sgd: &'a Sgd,
    lr: f64,
    lr_fast: f64,
}

impl Update<'_> {
    /// Rate, weight decay, and what a group decays towards.
    fn of(&self, group: Group) -> (f32, f32, f32) {
        let settings = self.sgd.settings;
        match group {
            Group::Fast => (self.lr_fast as f32, settings.weight_decay_fast as f32, self.sgd.centre),
            Group::Slow | Group::Buffer => (self.lr as f32, settings.weight_decay as f32, 0.0),
        }
    }
}

impl InplaceOp2 for Update<'_> {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn cpu_fwd(
        &self,
        params: &mut CpuStorage,
        params_layout: &Layout,
        gradient: &CpuStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let (Some((p, p_end)), Some((g, g_end))) =
            (params_layout.contiguous_offsets(), gradient_layout.contiguous_offsets())
        else {
            candle_core::bail!("sgd: expected contiguous tensors")
        };
        let CpuStorage::F32(params) = params else { candle_core::bail!("sgd: expected f32 parameters") };
        let (params, gradient) = (&mut params[p..p_end], &gradient.as_slice::<f32>()?[g..g_end]);
        let mut velocity = self.sgd.velocity();
        #[allow(irrefutable_let_patterns)]
        let Velocity::Host(velocity) = &mut *velocity else {
            candle_core::bail!("sgd: the velocity is on CUDA, the parameters are on the CPU")
        };
        let settings = self.sgd.settings;
        let momentum = settings.momentum as f32;
        for (range, group) in &self.sgd.segments {
            let (rate, decay, centre) = self.of(*group);
            const CHUNK: usize = 1 << 15;
            let chunks = params[range.clone()]
                .par_chunks_mut(CHUNK)
                .zip(velocity[range.clone()].par_chunks_mut(CHUNK))
                .zip(gradient[range.clone()].par_chunks(CHUNK));
            chunks.for_each(|((params, velocity), gradient)| {
                for ((p, v), g) in params.iter_mut().zip(velocity).zip(gradient) {
                    let g = g + decay * (*p - centre);
                    *v = momentum * *v + g;
                    *p -= rate * if settings.nesterov { g + momentum * *v } else { *v };
                }
            });
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        params: &mut CudaStorage,
        params_layout: &Layout,
        gradient: &CudaStorage,
        gradient_layout: &Layout,
    ) -> candle_core::Result<()> {
        let arena = cuda::open::arena(&params.device)?;
        let addresses = (
            cuda::tensor_address::<f32>((params, params_layout))?,
            cuda::tensor_address::<f32>((gradient, gradient_layout))?,
        );
        let mut velocity = self.sgd.velocity();
        if let Velocity::Host(values) = &*velocity {
            let segments = self.sgd.segments.iter();
            let segments = segments.map(|(range, group)| (range.clone(), *group == Group::Fast));
            *velocity = Velocity::Cuda(arena.values(values)?, Pieces::new(&arena, segments)?);
        }
        let Velocity::Cuda(buffer, pieces) = &*velocity else { return Ok(()) };
        let SgdSettings { momentum, nesterov, .. } = self.sgd.settings;
        let [slow, fast] = [Group::Slow, Group::Fast].map(|group| {
            let (rate, decay, centre) = self.of(group);
            Rates { rate, decay, centre }
        });
        let step = Step { momentum: momentum as f32, nesterov, slow, fast };
        let memory = (addresses.0, buffer.at(), addresses.1);
        // SAFETY: `apply` has checked that all three have a value for each parameter.
        unsafe { cuda::sgd::step(arena.backend(), pieces, memory, step) }.map_err(Into::into)
    }
}
