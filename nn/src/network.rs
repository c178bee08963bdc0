//! A network with its parameters: one custom operator of candle, from images and flat parameters to logits.
//!
//! The whole network is one operator because candle's automatic differentiation adds every gradient onto a freshly
//! zeroed tensor, one for each argument of each operator; with an operator a layer that alone costs as much as the
//! convolutions of a small network. Inside, the crate's `engine` keeps activations and gradients in its own buffers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, Device, Layout as TensorLayout, Shape, Tensor, Var};

#[cfg(feature = "cuda")]
use crate::engine::cuda::{self, OnDevice};
use crate::engine::graph::Graph;
use crate::engine::memory::Arena;
use crate::engine::{backward, forward};
use crate::error::{Error, Result};
use crate::params::Layout;
use crate::precision::Precision;
use crate::profile;
use crate::spec::NetworkSpec;
use crate::threads::on_workers;
use crate::values::{contiguous, with_values};

/// Which statistics the batch norms use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those of the batch, in `groups` consecutive parts of the images (protocol: `bn_groups`); the running statistics
    /// follow the first part.
    Train {
        /// Number of parts.
        groups: usize,
    },
    /// The running ones.
    Eval,
}

/// A plain network (one member) or a BatchEnsemble of M subnetworks.
pub struct Network {
    spec: NetworkSpec,
    body: Arc<Body>,
    params: Var,
    /// Whether the running statistics follow those of batches.
    follow: bool,
}

/// What the operator shares with its network.
struct Body {
    graph: Graph,
    place: Place,
}

/// Working memory and running statistics, where the network computes.
enum Place {
    Cpu {
        arena: Arena,
        /// Running statistics.
        buffers: Mutex<Vec<f32>>,
    },
    #[cfg(feature = "cuda")]
    Cuda(Box<OnDevice>),
}

impl Place {
    fn new(graph: &Graph, buffers: Vec<f32>, precision: Precision, device: &Device) -> Result<Self> {
        match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                let arena = crate::ops::cuda::open::arena(device)?;
                Ok(Place::Cuda(Box::new(OnDevice::new(arena, graph, &buffers, precision)?)))
            }
            _ if precision == Precision::F32 => {
                let _ = graph;
                Ok(Place::Cpu { arena: Arena::default(), buffers: Mutex::new(buffers) })
            }
            _ => Err(Error::Spec {
                name: format!("precision {precision}"),
                reason: "the CPU computes in f32 alone".to_owned(),
            }),
        }
    }
}

/// A forward pass that may be gone back through.
enum Saved {
    Cpu(forward::Saved),
    #[cfg(feature = "cuda")]
    Cuda(cuda::Kept),
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Network {
    /// A freshly initialised network: parameters from the stream "init" of `seed`, running means 0 and variances 1.
    ///
    /// # Errors
    /// [`Error::Spec`] where the specification makes no network; candle's error where the device has no memory.
    pub fn new(spec: &NetworkSpec, seed: u64, device: &Device) -> Result<Self> {
        Self::of_graph(spec.clone(), spec.graph()?, seed, device)
    }

    pub(crate) fn of_graph(spec: NetworkSpec, graph: Graph, seed: u64, device: &Device) -> Result<Self> {
        let (values, buffers) = graph.layout.initialize(seed);
        let params = Var::from_vec(values, graph.layout.parameter_count(), device)?;
        let place = Place::new(&graph, buffers, spec.precision, device)?;
        let body = Body { graph, place };
        Ok(Self { spec, body: Arc::new(body), params, follow: true })
    }

    /// The same network, parameters and running statistics shared, whose passes leave the running statistics as they are:
    /// for the parts of a batch without its first batch-norm group.
    #[must_use]
    pub fn with_still_statistics(&self) -> Self {
        let (body, params) = (Arc::clone(&self.body), self.params.clone());
        Self { spec: self.spec.clone(), body, params, follow: false }
    }

    /// What the network was built from.
    pub fn spec(&self) -> &NetworkSpec {
        &self.spec
    }

    /// Subnetworks: 1 for a plain network.
    pub fn members(&self) -> usize {
        self.body.graph.member_count()
    }

    /// Names, shapes and groups of parameters and running statistics.
    pub fn layout(&self) -> &Layout {
        &self.body.graph.layout
    }

    /// All parameters in one vector, in the layout's order.
    pub fn params(&self) -> &Var {
        &self.params
    }

    /// The device that holds the parameters.
    pub fn device(&self) -> &Device {
        self.params.device()
    }

    /// A copy of the running statistics, in the layout's order.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn buffers(&self) -> Result<Vec<f32>> {
        match &self.body.place {
            Place::Cpu { buffers, .. } => Ok(lock(buffers).clone()),
            #[cfg(feature = "cuda")]
            Place::Cuda(on) => on.buffers(),
        }
    }

    /// Replaces the running statistics.
    ///
    /// # Errors
    /// [`Error::Shape`] where their number is another; the device's.
    pub fn set_buffers(&self, values: &[f32]) -> Result<()> {
        let count = self.layout().buffer_count();
        if values.len() != count {
            return Err(Error::Shape {
                operation: "set_buffers",
                expected: format!("{count} running statistics"),
                found: vec![values.len()],
            });
        }
        match &self.body.place {
            Place::Cpu { buffers, .. } => {
                lock(buffers).copy_from_slice(values);
                Ok(())
            }
            #[cfg(feature = "cuda")]
            Place::Cuda(on) => on.set_buffers(values),
        }
    }

    /// Logits (M, B, K) of images (B, C, H, W) in [0, 1], with gradients by images and parameters where those are
    /// tracked. Every member sees every image.
    ///
    /// # Errors
    /// [`Error::Shape`] where the images have another shape; candle's error where the device fails.
    pub fn logits(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        self.pass(images, &self.params, mode, false)
    }

    /// The same without gradients by the parameters: for frozen teachers, whose gradient by input then costs no
    /// gradient by weight, and for predictions.
    ///
    /// # Errors
    /// As [`Network::logits`].
    pub fn frozen_logits(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        self.pass(images, &self.params.as_detached_tensor(), mode, false)
    }

    /// The same beside other work: on a device they are not to be read before that was waited for.
    pub(crate) fn logits_beside(&self, images: &Tensor, mode: Mode) -> Result<Tensor> {
        self.pass(images, &self.params.as_detached_tensor(), mode, true)
    }

    /// Logits with `params` (in the layout's order) in the place of the network's own, such as some that are computed
    /// from those; with gradients by images and `params` where those are tracked.
    ///
    /// # Errors
    /// [`Error::Shape`] where images or `params` have another shape; candle's error where the device fails.
    pub fn logits_with(&self, params: &Tensor, images: &Tensor, mode: Mode) -> Result<Tensor> {
        if params.dims() != self.params.dims() {
            return Err(Error::Shape {
                operation: "network",
                expected: format!("{} parameters", self.layout().parameter_count()),
                found: params.dims().to_vec(),
            });
        }
        self.pass(images, &params.contiguous()?, mode, false)
    }

    fn pass(&self, images: &Tensor, params: &Tensor, mode: Mode, beside: bool) -> Result<Tensor> {
        let graph = &self.body.graph;
        let image = graph.image;
        let tiles = if graph.tiled_images { self.members() } else { 1 };
        let batch = match images.dims() {
            &[n, c, h, w]
                if n > 0 && n % tiles == 0 && (c, h, w) == (image.channels, image.height, image.width) =>
            {
                n / tiles
            }
            found => {
                return Err(Error::Shape {
                    operation: "network",
                    expected: format!("images (B, {}, {}, {})", image.channels, image.height, image.width),
                    found: found.to_vec(),
                });
            }
        };
        let images = images.contiguous()?;
        let op = NetworkOp {
            body: Arc::clone(&self.body),
            batch,
            mode,
            follow: self.follow,
            keep: images.track_op() || params.track_op(),
            beside,
            #[cfg(feature = "cuda")]
            weight_grads: params.track_op(),
            saved: Mutex::new(None),
        };
        profile::count(graph.multiply_adds() * (self.members() * batch) as u64);
        let output = images.apply_op2_arc(params, Arc::new(Box::new(op)))?;
        let classes = graph.features[graph.output()].channels;
        match output.dims() {
            [_, _, 1, 1] => Ok(output.reshape((self.members(), batch, classes))?),
            _ => Ok(output),
        }
    }
}

/// One pass through the network as an operator: images (B, C, H, W) and flat parameters to the output (M * B, K, 1, 1).
struct NetworkOp {
    body: Arc<Body>,
    batch: usize,
    mode: Mode,
    /// Whether the running statistics follow the batch's.
    follow: bool,
    /// Whether a gradient may be asked for.
    keep: bool,
    /// Whether it may run beside other work.
    beside: bool,
    /// Whether that by the parameters may be.
    #[cfg(feature = "cuda")]
    weight_grads: bool,
    saved: Mutex<Option<Saved>>,
}

impl NetworkOp {
    fn request(&self) -> forward::Request {
        let groups = match self.mode {
            Mode::Train { groups } => Some(groups),
            Mode::Eval => None,
        };
        forward::Request {
            batch: self.batch,
            groups,
            follow: self.follow,
            keep: self.keep,
            beside: self.beside,
        }
    }

    /// The output's shape.
    fn shape(&self) -> Shape {
        let graph = &self.body.graph;
        let shape = graph.features[graph.output()];
        Shape::from((graph.member_count() * self.batch, shape.channels, shape.height, shape.width))
    }
}

impl CustomOp2 for NetworkOp {
    fn name(&self) -> &'static str {
        "network"
    }

    fn cpu_fwd(
        &self,
        images: &CpuStorage,
        images_layout: &TensorLayout,
        params: &CpuStorage,
        params_layout: &TensorLayout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let images = contiguous(images, images_layout)?;
        let params = contiguous(params, params_layout)?;
        let graph = &self.body.graph;
        let (arena, buffers) = match &self.body.place {
            Place::Cpu { arena, buffers } => (arena, buffers),
            #[cfg(feature = "cuda")]
            Place::Cuda(_) => {
                candle_core::bail!("network: the network is on CUDA, the images are on the CPU")
            }
        };
        let (mut buffers, request) = (lock(buffers), self.request());
        let buffers: &mut [f32] = &mut buffers;
        let (output, saved) = on_workers(|| forward::run(graph, arena, params, buffers, images, request));
        *lock(&self.saved) = saved.map(Saved::Cpu);
        Ok((CpuStorage::F32(output), self.shape()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        images: &CudaStorage,
        images_layout: &TensorLayout,
        params: &CudaStorage,
        params_layout: &TensorLayout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let Place::Cuda(on) = &self.body.place else {
            candle_core::bail!("network: the network is on the CPU, the images are on CUDA")
        };
        let graph = &self.body.graph;
        let tensors = ((images, images_layout), (params, params_layout));
        let (output, saved) = cuda::operator::forward(on, graph, tensors, self.request(), self.weight_grads)?;
        *lock(&self.saved) = saved.map(Saved::Cuda);
        Ok((output, self.shape()))
    }

    fn bwd(
        &self,
        images: &Tensor,
        params: &Tensor,
        _output: &Tensor,
        grad_output: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let mut saved = lock(&self.saved);
        let wanted = backward::Wanted { params: params.track_op(), images: images.track_op() };
        let grad_output = grad_output.contiguous()?;
        let graph = &self.body.graph;
        let rows = (graph.member_count() * self.batch) as u64;
        profile::count(graph.multiply_adds() * rows * (1 + u64::from(wanted.params)));
        let (saved, arena) = match (saved.as_mut(), &self.body.place) {
            (Some(Saved::Cpu(saved)), Place::Cpu { arena, .. }) => (saved, arena),
            #[cfg(feature = "cuda")]
            (Some(Saved::Cuda(saved)), Place::Cuda(on)) => {
                let tensors = (images, params, &grad_output);
                return cuda::operator::backward(on, graph, tensors, saved, wanted);
            }
            _ => candle_core::bail!("network: the forward pass kept nothing to go back through"),
        };
        let gradients = with_values(images, |images| {
            with_values(params, |params| {
                with_values(&grad_output, |grad| {
                    Ok(on_workers(|| backward::run(graph, arena, params, images, saved, grad, wanted)))
                })
            })
        })?;
        let images =
            gradients.images.map(|g| Tensor::from_vec(g, images.shape(), images.device())).transpose()?;
        let params =
            gradients.params.map(|g| Tensor::from_vec(g, params.shape(), params.device())).transpose()?;
        Ok((images, params))
    }
}
