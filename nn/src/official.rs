//! Reads the official implementation's PyTorch checkpoints.
//!
//! A `.pth.tar` is a zip archive of a pickle, which describes the tensors, and of their elements, uncompressed. Nothing of
//! the pickle is run, and no more memory is used than the file is long, but for the pickle's own values. The weights lie
//! under the key `model_state_dict`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use half::{bf16, f16};
use zip::{CompressionMethod, ZipArchive};

use crate::error::{Error, Result};
use crate::pickle::{Id, Pickle, Value};
use crate::state::NamedTensor;

/// The key of the weights in an official checkpoint.
pub const STATE_DICT_KEY: &str = "model_state_dict";

/// What `DataParallel` puts before every name.
const WRAPPER: &str = "module.";

/// The longest pickle that is read, ten times that of the largest official checkpoint.
const MAX_PICKLE: u64 = 4 << 20;

/// Dimensions of a tensor, bytes of a name, tensors: a pickle refers to one value as often as it likes, and each tensor has a copy of
/// its own.
const MOST_DIMENSIONS: usize = 8;
const MOST_NAME: usize = 512;
const MOST_TENSORS: usize = 50_000;

/// Reads the tensors under `key`, as f32, in the order of their names. Integer counters
/// (`num_batches_tracked`) are left out, and so is the `module.` that a network in `DataParallel` has before every name.
///
/// # Errors
/// [`Error::Io`] where there is no such file; [`Error::Checkpoint`] where it is no checkpoint, has no such key, or holds
/// more than its own size of data.
pub fn read_pth(path: &Path, key: &str) -> Result<Vec<NamedTensor>> {
    let file = File::open(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    let size = file.metadata().map_err(|source| Error::Io { path: path.to_owned(), source })?.len();
    read(file, size, key).map_err(|reason| Error::Checkpoint { path: path.to_owned(), reason })
}

type Archive = ZipArchive<BufReader<File>>;

fn read(file: File, size: u64, key: &str) -> Result<Vec<NamedTensor>, String> {
    let no_checkpoint =
        |problem: String| format!("not a PyTorch checkpoint (a zip archive of data.pkl): {problem}");
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|e| no_checkpoint(e.to_string()))?;
    let names: Vec<String> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    let folder = names.iter().find_map(|name| name.strip_suffix("data.pkl"));
    let folder = folder.ok_or_else(|| no_checkpoint("there is no data.pkl in it".to_owned()))?;
    let bytes = entry(&mut archive, &format!("{folder}data.pkl"), size.min(MAX_PICKLE))?;
    let (pickle, root) =
        Pickle::read(&bytes).map_err(|problem| format!("its pickle is damaged: {problem}"))?;
    let mut tensors = described(&pickle, root, key)?;
    tensors.retain(|tensor| !tensor.name.ends_with("num_batches_tracked"));
    if tensors.iter().all(|tensor| tensor.name.starts_with(WRAPPER)) {
        tensors.iter_mut().for_each(|tensor| drop(tensor.name.drain(..WRAPPER.len())));
    }
    if tensors.is_empty() {
        return Err(format!("there are no tensors under `{key}`"));
    }
    let mut total = 0_u64;
    for tensor in &tensors {
        total = total.saturating_add(tensor.bytes()?);
    }
    if total > size {
        return Err(format!("its tensors declare {total} bytes, the file has {size}"));
    }
    // Each storage is read once, for all of its tensors.
    tensors.sort_by(|a, b| a.storage.cmp(&b.storage));
    let (mut storage, mut of, mut read) = (Vec::new(), None, 0);
    let mut gathered = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        if of.as_ref() != Some(&tensor.storage) {
            storage = entry(&mut archive, &format!("{folder}data/{}", tensor.storage), size - read)?;
            read += storage.len() as u64;
            of = Some(tensor.storage.clone());
        }
        let values = tensor.gather(&storage)?;
        gathered.push(NamedTensor { name: tensor.name, shape: tensor.shape, values });
    }
    gathered.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(gathered)
}

/// The bytes of an entry of the archive, at most `limit`.
fn entry(archive: &mut Archive, name: &str, limit: u64) -> Result<Vec<u8>, String> {
    let mut entry = archive.by_name(name).map_err(|e| format!("`{name}` in the archive: {e}"))?;
    if entry.compression() != CompressionMethod::Stored {
        return Err(format!("`{name}` in the archive is compressed, which PyTorch's checkpoints are not"));
    }
    if entry.size() > limit {
        return Err(format!(
            "`{name}` in the archive declares {} bytes, at most {limit} are read",
            entry.size()
        ));
    }
    let mut bytes = Vec::new();
    let read = entry.by_ref().take(limit).read_to_end(&mut bytes);
    read.map_err(|e| format!("`{name}` in the archive is damaged: {e}"))?;
    Ok(bytes)
}

/// How a storage's elements are coded.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Coding {
    F16,
    Bf16,
    F32,
    F64,
    /// Integers, which no weight is.
    None,
}

impl Coding {
    fn of(class: &str) -> Self {
        match class {
            "HalfStorage" => Self::F16,
            "BFloat16Storage" => Self::Bf16,
            "FloatStorage" => Self::F32,
            "DoubleStorage" => Self::F64,
            _ => Self::None,
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F16 | Self::Bf16 => 2,
            Self::F32 => 4,
            Self::F64 | Self::None => 8,
        }
    }
}

/// A tensor as the pickle describes it.
#[derive(Debug)]
struct Described {
    name: String,
    /// The name of its elements' entry in the archive.
    storage: String,
    class: String,
    /// The first element's place in the storage.
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Described {
    fn count(&self) -> Result<usize, String> {
        let count = self.shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
        count.ok_or_else(|| format!("`{}` declares an impossible shape", self.name))
    }

    fn bytes(&self) -> Result<u64, String> {
        Ok((self.count()? as u64).saturating_mul(Coding::of(&self.class).bytes() as u64))
    }

    /// The elements in row-major order. There are at most as many as the file has bytes.
    fn gather(&self, storage: &[u8]) -> Result<Vec<f32>, String> {
        let element = |at: usize| -> Option<f32> {
            match Coding::of(&self.class) {
                Coding::F16 => storage.as_chunks().0.get(at).map(|b| f16::from_le_bytes(*b).to_f32()),
                Coding::Bf16 => storage.as_chunks().0.get(at).map(|b| bf16::from_le_bytes(*b).to_f32()),
                Coding::F32 => storage.as_chunks().0.get(at).map(|b| f32::from_le_bytes(*b)),
                Coding::F64 => storage.as_chunks().0.get(at).map(|b| f64::from_le_bytes(*b) as f32),
                Coding::None => None,
            }
        };
        if Coding::of(&self.class) == Coding::None {
            return Err(format!("`{}` is of {}, expected floating-point numbers", self.name, self.class));
        }
        let outside = || format!("`{}` reaches beyond its storage of {} bytes", self.name, storage.len());
        let mut index = vec![0_usize; self.shape.len()];
        let mut values = Vec::new();
        for _ in 0..self.count()? {
            let at = index
                .iter()
                .zip(&self.strides)
                .try_fold(self.offset, |at, (index, stride)| at.checked_add(index.checked_mul(*stride)?));
            values.push(at.and_then(element).ok_or_else(outside)?);
            for (index, size) in index.iter_mut().zip(&self.shape).rev() {
                *index += 1;
                if *index < *size {
                    break;
                }
                *index = 0;
            }
        }
        Ok(values)
    }
}

/// The tensors of the dictionary under `key`.
fn described(pickle: &Pickle, root: Id, key: &str) -> Result<Vec<Described>, String> {
    let is_key = |id: Id| matches!(pickle.get(id), Value::Text(text) if text == key);
    let Value::Dict(entries) = pickle.get(root) else {
        return Err("its pickle is damaged or of another kind: expected a dictionary".to_owned());
    };
    let found = entries.iter().rev().find(|(name, _)| is_key(*name));
    let Some(Value::Dict(entries)) = found.map(|(_, value)| pickle.get(*value)) else {
        return Err(format!("not a PyTorch checkpoint with tensors under `{key}`"));
    };
    let mut tensors = Vec::new();
    for (name, value) in entries {
        if let Value::Text(name) = pickle.get(*name)
            && let Some(arguments) = tensor_arguments(pickle, *value)
        {
            if tensors.len() == MOST_TENSORS {
                return Err(format!("it describes more than {MOST_TENSORS} tensors"));
            }
            let tensor = describe(pickle, name, arguments);
            tensors
                .push(tensor.ok_or_else(|| {
                    format!("its pickle is damaged: `{name}` is described by wrong values")
                })?);
        }
    }
    Ok(tensors)
}

/// The arguments that a tensor is rebuilt from; parameters and subclasses wrap those of their tensor.
fn tensor_arguments(pickle: &Pickle, value: Id) -> Option<&[Id]> {
    let call = |id: Id| match pickle.get(id) {
        Value::Call(callee, arguments) => match (pickle.get(*callee), pickle.get(*arguments)) {
            (Value::Global(module, name), Value::Sequence(arguments)) => {
                Some((module.as_str(), name.as_str(), arguments.as_slice()))
            }
            _ => None,
        },
        _ => None,
    };
    let is_rebuild = |module: &str, name: &str| (module, name) == ("torch._utils", "_rebuild_tensor_v2");
    match call(value)? {
        (module, name, arguments) if is_rebuild(module, name) => Some(arguments),
        ("torch._utils", "_rebuild_parameter", [tensor, ..]) => match call(*tensor)? {
            (module, name, arguments) if is_rebuild(module, name) => Some(arguments),
            _ => None,
        },
        ("torch._tensor", "_rebuild_from_type_v2", [callee, _, arguments, ..]) => {
            match (pickle.get(*callee), pickle.get(*arguments)) {
                (Value::Global(module, name), Value::Sequence(arguments)) if is_rebuild(module, name) => {
                    Some(arguments)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// From the storage, the offset, the shape and the strides. The storage is the tuple ("storage", class, name, ..).
fn describe(pickle: &Pickle, name: &str, arguments: &[Id]) -> Option<Described> {
    let integer = |id: &Id| match pickle.get(*id) {
        Value::Int(value) => usize::try_from(*value).ok(),
        _ => None,
    };
    let integers = |id: Id| match pickle.get(id) {
        Value::Sequence(items) if items.len() <= MOST_DIMENSIONS => {
            items.iter().map(integer).collect::<Option<Vec<usize>>>()
        }
        _ => None,
    };
    let [storage, offset, shape, strides, ..] = arguments else { return None };
    let Value::Persistent(storage) = pickle.get(*storage) else { return None };
    let Value::Sequence(storage) = pickle.get(*storage) else { return None };
    let [_, class, key, ..] = storage.as_slice() else { return None };
    let (Value::Global(_, class), Value::Text(key)) = (pickle.get(*class), pickle.get(*key)) else {
        return None;
    };
    let (shape, strides) = (integers(*shape)?, integers(*strides)?);
    (shape.len() == strides.len()).then_some(())?;
    [name, class, key].iter().all(|text| text.len() <= MOST_NAME).then_some(())?;
    Some(Described {
        name: name.to_owned(),
        storage: key.clone(),
        class: class.clone(),
        offset: integer(offset)?,
        shape,
        strides,
    })
}
