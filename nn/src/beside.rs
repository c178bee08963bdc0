//! Predictions of several frozen networks, beside other work.

use candle_core::Tensor;

use crate::{Mode, Network, Result};

/// Logits of frozen networks for the same images, which a CUDA device computes beside what it is asked for afterwards: the
/// passes of small networks do not fill it. On the CPU, and where passes are not recorded, they are computed at once.
#[derive(Debug)]
pub struct Beside {
    logits: Vec<Tensor>,
    /// What the passes read is kept until they have ended.
    images: Tensor,
}

impl Beside {
    /// Starts the networks' passes, without any gradient.
    ///
    /// # Errors
    /// As [`Network::frozen_logits`].
    pub fn start(networks: &[Network], images: &Tensor, mode: Mode) -> Result<Self> {
        let mut beside = Self { logits: Vec::new(), images: images.detach().contiguous()? };
        for network in networks {
            beside.logits.push(network.logits_beside(&beside.images, mode)?);
        }
        Ok(beside)
    }

    /// The logits (M, B, K) of each network. What the device is asked for from now on waits for them.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn finish(mut self) -> Result<Vec<Tensor>> {
        self.join()?;
        Ok(std::mem::take(&mut self.logits))
    }

    fn join(&self) -> Result<()> {
        #[cfg(feature = "cuda")]
        if let candle_core::Device::Cuda(device) = self.images.device() {
            crate::ops::cuda::open::arena(device)?.backend().join()?;
        }
        Ok(())
    }
}

impl Drop for Beside {
    /// Memory is given back in the order of the device's main work.
    fn drop(&mut self) {
        // A device that fails here fails in what is asked for next.
        let _ = self.join();
    }
}
