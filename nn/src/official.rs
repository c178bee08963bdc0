//! Reads the official implementation's PyTorch checkpoints.
//!
//! A `.pth.tar` is a zip archive with a pickle; candle's reader interprets the pickle's data opcodes and runs nothing
//! from it. The weights lie under the key `model_state_dict`.

use std::path::Path;

use candle_core::DType;
use candle_core::pickle::PthTensors;

use crate::error::{Error, Result};
use crate::state::NamedTensor;

/// The key of the weights in an official checkpoint.
pub const STATE_DICT_KEY: &str = "model_state_dict";

/// Reads the tensors under `key`, as f32, in the order of their names. Integer counters
/// (`num_batches_tracked`) are left out.
///
/// # Errors
/// [`Error::Io`] where there is no such file; [`Error::Checkpoint`] where it is no checkpoint, has no such key, or holds
/// more than its own size of data.
pub fn read_pth(path: &Path, key: &str) -> Result<Vec<NamedTensor>> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let size = std::fs::metadata(path).map_err(io)?.len();
    let fail = |reason: String| Error::Checkpoint { path: path.to_owned(), reason };
    // The reader takes the pickle's tuples apart without counting their elements: damaged ones make it panic.
    let file = std::panic::catch_unwind(|| PthTensors::new(path, Some(key)))
        .map_err(|_| fail("its pickle is damaged: a tensor is described by too few values".to_owned()))?
        .map_err(|e| fail(format!("not a PyTorch checkpoint with tensors under `{key}`: {e}")))?;
    // The reader's map has no fixed order.
    let mut infos: Vec<_> = file.tensor_infos().iter().collect();
    infos.retain(|(name, _)| !name.ends_with("num_batches_tracked"));
    infos.sort_by_key(|(name, _)| *name);
    let mut total = 0_u64;
    for (name, info) in &infos {
        let elements = info.layout.shape().dims().iter().try_fold(1_usize, |n, d| n.checked_mul(*d));
        let elements = elements.ok_or_else(|| fail(format!("`{name}` declares an impossible shape")))?;
        total = total.saturating_add(elements as u64 * 2);
    }
    if total > size {
        return Err(fail(format!("its tensors declare more than {total} bytes, the file has {size}")));
    }
    if infos.is_empty() {
        return Err(fail(format!("there are no tensors under `{key}`")));
    }
    let mut tensors = Vec::with_capacity(infos.len());
    for (name, _) in infos {
        let tensor = file.get(name).map_err(|e| fail(format!("`{name}`: {e}")))?;
        let Some(tensor) = tensor else { return Err(fail(format!("`{name}` has no data"))) };
        let shape = tensor.dims().to_vec();
        let values =
            tensor.to_dtype(DType::F32).and_then(|t| t.flatten_all()).and_then(|t| t.to_vec1::<f32>());
        let values = values.map_err(|e| fail(format!("`{name}`: {e}")))?;
        tensors.push(NamedTensor { name: name.clone(), shape, values });
    }
    Ok(tensors)
}
