//! A subnetwork of a BatchEnsemble as a network of its own.

use crate::error::{Error, Result};
use crate::network::Network;
use crate::params::{BIAS, R, S};
use crate::spec::NetworkSpec;
use crate::state::NamedTensor;

impl Network {
    /// The plain network that subnetwork `index` is: weights W o (s_j r_j^T), its own classifier bias, the shared norms
    /// and running statistics. In eval mode its logits are the subnetwork's, at the cost of one network. A copy of the
    /// network itself where that is plain and `index` 0.
    ///
    /// # Errors
    /// [`Error::State`] where there is no such subnetwork; candle's, where the device fails.
    pub fn member(&self, index: usize) -> Result<Network> {
        if index >= self.members() {
            return Err(Error::State(format!("there is no subnetwork {index} among {}", self.members())));
        }
        let state = self.state()?;
        let find = |name: &str| state.iter().find(|tensor| tensor.name == name);
        let mut plain = Vec::new();
        for tensor in &state {
            if tensor.name.ends_with(R) || tensor.name.ends_with(S) {
                continue;
            }
            let mut tensor = tensor.clone();
            if let Some(layer) = tensor.name.strip_suffix(BIAS) {
                let values = row(&tensor, index).to_vec();
                tensor = NamedTensor { name: format!("{layer}.bias"), shape: vec![values.len()], values };
            } else if let Some(layer) = tensor.name.strip_suffix(".weight")
                && let Some(r) = find(&format!("{layer}{R}"))
                && let Some(s) = find(&format!("{layer}{S}"))
            {
                scale(&mut tensor.values, row(r, index), row(s, index));
            }
            plain.push(tensor);
        }
        let spec = NetworkSpec { members: None, ..self.spec().clone() };
        let network = Network::new(&spec, 0, self.device())?;
        network.load_state(&plain)?;
        Ok(network)
    }
}

/// The values of one member in a tensor (M, channels).
fn row(tensor: &NamedTensor, index: usize) -> &[f32] {
    let channels = tensor.values.len() / tensor.shape.first().copied().unwrap_or(1).max(1);
    &tensor.values[index * channels..][..channels]
}

/// W o (s r^T): `weights` (outputs, inputs, taps), each kernel times the `s` of its output and the `r` of its input.
pub fn scale(weights: &mut [f32], r: &[f32], s: &[f32]) {
    let taps = (weights.len() / (r.len() * s.len()).max(1)).max(1);
    for (at, kernel) in weights.chunks_exact_mut(taps).enumerate() {
        let factor = s[at / r.len()] * r[at % r.len()];
        kernel.iter_mut().for_each(|weight| *weight *= factor);
    }
}
