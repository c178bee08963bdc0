//! A network's tensors by name: to and from memory, safetensors files and PyTorch checkpoints.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use candle_core::Tensor;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::error::{Error, Result};
use crate::network::Network;
use crate::params::{Entry, Group};

/// A tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Official PyTorch name.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Elements, row-major.
    pub values: Vec<f32>,
}

impl Network {
    /// Parameters and running statistics in the layout's order.
    ///
    /// # Errors
    /// Candle's, where the device fails.
    pub fn state(&self) -> Result<Vec<NamedTensor>> {
        let params = self.params().to_vec1::<f32>()?;
        let buffers = self.buffers()?;
        let tensor = |entry: &Entry| {
            let from = if entry.group == Group::Buffer { &buffers } else { &params };
            let values = from[entry.range()].to_vec();
            NamedTensor { name: entry.name.clone(), shape: entry.shape.clone(), values }
        };
        Ok(self.layout().entries().iter().map(tensor).collect())
    }

    /// Replaces every parameter and running statistic.
    ///
    /// Names that official checkpoints carry beside them are passed over: `*.num_batches_tracked`, and the pixel mean
    /// and standard deviation (`pixel_mean`, `pixel_std`), which are part of the network's specification here.
    ///
    /// # Errors
    /// [`Error::State`] that lists every missing, unexpected and misshapen tensor; nothing is loaded then.
    pub fn load_state(&self, tensors: &[NamedTensor]) -> Result<()> {
        let mut given: BTreeMap<&str, &NamedTensor> = BTreeMap::new();
        let mut faults = Vec::new();
        for tensor in tensors.iter().filter(|t| !is_passed_over(&t.name)) {
            if given.insert(tensor.name.as_str(), tensor).is_some() {
                faults.push(format!("`{}` is there twice", tensor.name));
            }
        }
        let mut params = vec![0.0; self.layout().parameter_count()];
        let mut buffers = vec![0.0; self.layout().buffer_count()];
        for entry in self.layout().entries() {
            let to = if entry.group == Group::Buffer { &mut buffers } else { &mut params };
            match given.remove(entry.name.as_str()) {
                None => faults.push(format!("`{}` {:?} is missing", entry.name, entry.shape)),
                Some(t) if t.shape != entry.shape || t.values.len() != entry.len() => {
                    faults.push(format!("`{}` should be {:?} and is {:?}", entry.name, entry.shape, t.shape));
                }
                Some(t) => to[entry.range()].copy_from_slice(&t.values),
            }
        }
        faults.extend(given.keys().map(|name| format!("`{name}` is not part of this network")));
        if !faults.is_empty() {
            return Err(Error::State(summary(&faults)));
        }
        self.params().set(&Tensor::from_vec(params, self.layout().parameter_count(), self.device())?)?;
        self.set_buffers(&buffers)
    }

    /// Writes parameters and running statistics as safetensors.
    ///
    /// # Errors
    /// [`Error::Io`] where the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        write_safetensors(&self.state()?, path)
    }

    /// Reads them back.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Checkpoint`] where the file is no safetensors, [`Error::State`] where it does not fit.
    pub fn load(&self, path: &Path) -> Result<()> {
        let tensors = read_safetensors(path)?;
        self.load_state(&tensors).map_err(|error| match error {
            Error::State(faults) => Error::Checkpoint { path: path.to_owned(), reason: faults },
            other => other,
        })
    }
}

fn is_passed_over(name: &str) -> bool {
    name.ends_with("num_batches_tracked") || name == "pixel_mean" || name == "pixel_std"
}

fn summary(faults: &[String]) -> String {
    const SHOWN: usize = 8;
    let mut text = faults.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if faults.len() > SHOWN {
        text.push_str(&format!("; and {} more", faults.len() - SHOWN));
    }
    text
}

/// Writes named f32 tensors; equal tensors give equal bytes. The file gets its name when it is whole.
///
/// # Errors
/// [`Error::Io`] where the file cannot be written, [`Error::Checkpoint`] where a tensor's shape does not fit its values.
pub fn write_safetensors(tensors: &[NamedTensor], path: &Path) -> Result<()> {
    let fail = |reason: String| Error::Checkpoint { path: path.to_owned(), reason };
    let bytes: Vec<Vec<u8>> =
        tensors.iter().map(|t| t.values.iter().flat_map(|v| v.to_le_bytes()).collect()).collect();
    let mut views = Vec::new();
    for (tensor, bytes) in tensors.iter().zip(&bytes) {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes);
        views.push((tensor.name.as_str(), view.map_err(|e| fail(format!("`{}`: {e}", tensor.name)))?));
    }
    let file = safetensors::serialize(views, None).map_err(|e| fail(e.to_string()))?;
    let mut draft_name = OsString::from(".tmp-");
    draft_name.push(path.file_name().unwrap_or_default());
    let draft = path.with_file_name(draft_name);
    File::create(&draft)
        .and_then(|mut draft| draft.write_all(&file).and_then(|()| draft.sync_all()))
        .and_then(|()| fs::rename(&draft, path))
        .inspect_err(|_| {
            // On a full disk half a file only takes space.
            let _ = fs::remove_file(&draft);
        })
        .map_err(|source| Error::Io { path: path.to_owned(), source })
}

/// Reads every tensor of a safetensors file, in the order of their names. f32 only.
///
/// # Errors
/// [`Error::Io`], or [`Error::Checkpoint`] where the file is no safetensors or holds another type.
pub fn read_safetensors(path: &Path) -> Result<Vec<NamedTensor>> {
    let bytes = fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let fail = |reason: String| Error::Checkpoint { path: path.to_owned(), reason };
    let file = SafeTensors::deserialize(&bytes).map_err(|e| fail(format!("not a safetensors file: {e}")))?;
    let mut tensors: Vec<NamedTensor> = Vec::new();
    for (name, view) in file.tensors() {
        if view.dtype() != Dtype::F32 {
            return Err(fail(format!("`{name}` is {:?}, expected F32", view.dtype())));
        }
        let values = view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        tensors.push(NamedTensor { name, shape: view.shape().to_vec(), values });
    }
    tensors.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(tensors)
}
