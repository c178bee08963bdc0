//! Runs a network forward and backward on the CPU.
//!
//! A network is a [`graph::Graph`] of three kinds of nodes (convolution, residual join, pooling) over feature maps. A
//! batch norm is no node: it is what a node does to a feature map when it reads it, so its output is never stored and
//! its gradient is never a pass of its own.
//!
//! Work is cut by images. Nodes that need no statistics of the whole batch from one another form a segment, and a
//! segment runs image by image, so that an image's data stay in cache from node to node; between segments the batch
//! statistics are summed up. In eval mode there is one segment. Every sum over images runs over fixed chunks in a fixed
//! order: the number of threads changes no bit.

pub(crate) mod backward;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod cuda;
pub(crate) mod forward;
pub(crate) mod gradients;
pub(crate) mod graph;
pub(crate) mod layout;
pub(crate) mod memory;
pub(crate) mod node_backward;
pub(crate) mod node_forward;
pub(crate) mod norm;
pub(crate) mod plan;
pub(crate) mod weights;
