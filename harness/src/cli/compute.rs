//! On which device, in which precision and in which pieces: what commands that train have in common.

use clap::Args;

use crate::device::{self, Chosen};

/// Where and how to compute.
#[derive(Clone, Debug, Args)]
pub struct ComputeOptions {
    /// auto, cpu or cuda:0.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Of convolutions and feature maps on CUDA: f32, tf32 or bf16.
    #[arg(long, default_value = "f32")]
    pub precision: String,
    /// Train on pieces of a batch of at most so many images, to save memory. Cuts at batch-norm groups only, so that the
    /// result is the same but for rounding; refused where a group is larger.
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(1..))]
    pub micro_batch: Option<u32>,
}

impl ComputeOptions {
    /// Opens the device.
    ///
    /// # Errors
    /// Those of [`device::choose`].
    pub fn choose(&self) -> anyhow::Result<Chosen> {
        Ok(device::choose(&self.device, &self.precision)?.in_micro_batches(self.most_images()))
    }

    /// The most images of a pass, where they are limited.
    pub fn most_images(&self) -> Option<usize> {
        self.micro_batch.map(|most| most as usize)
    }
}
