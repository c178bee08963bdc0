//! Named arrays of an analysis file: put together to be written, taken out one by one when read.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::{Error, Result};

/// A matrix of f32, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    columns: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// The matrix of these rows, each of `columns` values; values that do not fill a row are dropped.
    pub fn new(columns: usize, mut values: Vec<f32>) -> Self {
        let columns = columns.max(1);
        values.truncate(values.len() / columns * columns);
        Self { columns, values }
    }

    /// How many values a row has, at least 1.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.values.len() / self.columns
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.columns)
    }

    /// All values, row by row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values that are finite numbers, row by row.
    pub(crate) fn finite(&self) -> Vec<f64> {
        self.values.iter().map(|value| f64::from(*value)).filter(|value| value.is_finite()).collect()
    }
}

/// Tensors to be written, by name: type, shape, little-endian bytes.
#[derive(Default)]
pub(super) struct Written(BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl Written {
    pub(super) fn vector(&mut self, name: String, values: &[f32]) {
        self.floats(name, vec![values.len()], values);
    }

    pub(super) fn matrix(&mut self, name: String, matrix: &Matrix) {
        self.floats(name, vec![matrix.len(), matrix.columns], &matrix.values);
    }

    pub(super) fn indices(&mut self, name: String, values: &[usize]) {
        let bytes = values.iter().flat_map(|value| (*value as i64).to_le_bytes()).collect();
        self.0.insert(name, (Dtype::I64, vec![values.len()], bytes));
    }

    fn floats(&mut self, name: String, shape: Vec<usize>, values: &[f32]) {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.0.insert(name, (Dtype::F32, shape, bytes));
    }

    /// The bytes of the file, with one entry of metadata: equal content gives equal bytes.
    pub(super) fn serialize(
        &self,
        key: &str,
        text: String,
    ) -> std::result::Result<Vec<u8>, safetensors::SafeTensorError> {
        let views = self
            .0
            .iter()
            .map(|(name, (dtype, shape, bytes))| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>()?;
        safetensors::serialize(views, Some([(key.to_owned(), text)].into()))
    }
}

/// A file in memory, whose tensors are taken out by name.
pub(super) struct Stored<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
}

impl<'a> Stored<'a> {
    pub(super) fn open(path: &'a Path, bytes: &'a [u8]) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|source| Error::Safetensors { path: path.to_owned(), source })?;
        Ok(Self { path, tensors })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.names().into_iter()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.tensors.tensor(name).is_ok()
    }

    pub(super) fn vector(&self, name: &str) -> Result<Vec<f32>> {
        let (shape, values) = self.floats(name)?;
        let [_] = shape[..] else { return Err(self.wrong(name, "shape (N)", &shape)) };
        Ok(values)
    }

    /// A matrix, of this shape where it is given.
    pub(super) fn matrix(&self, name: &str, shape: Option<(usize, usize)>) -> Result<Matrix> {
        let (found, values) = self.floats(name)?;
        let [rows, columns] = found[..] else { return Err(self.wrong(name, "two dimensions", &found)) };
        if rows == 0 || columns == 0 {
            return Err(self.wrong(name, "at least one value", &found));
        }
        if let Some(expected) = shape
            && expected != (rows, columns)
        {
            return Err(self.wrong(name, &format!("shape {expected:?}"), &found));
        }
        Ok(Matrix { columns, values })
    }

    pub(super) fn indices(&self, name: &str) -> Result<Vec<usize>> {
        let view = self.view(name, Dtype::I64)?;
        let words = view.data().as_chunks().0.iter().map(|word| i64::from_le_bytes(*word));
        words.map(|index| usize::try_from(index).map_err(|_| self.wrong(name, "indices", &index))).collect()
    }

    fn floats(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let view = self.view(name, Dtype::F32)?;
        let values = view.data().as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect();
        Ok((view.shape().to_vec(), values))
    }

    fn view(&self, name: &str, dtype: Dtype) -> Result<TensorView<'_>> {
        let view = self
            .tensors
            .tensor(name)
            .map_err(|source| Error::Safetensors { path: self.path.to_owned(), source })?;
        if view.dtype() == dtype {
            Ok(view)
        } else {
            Err(self.wrong(name, &dtype.to_string(), &view.dtype()))
        }
    }

    pub(super) fn wrong(&self, name: &str, expected: &str, found: &dyn std::fmt::Debug) -> Error {
        Error::Tensor {
            path: self.path.to_owned(),
            name: name.to_owned(),
            expected: expected.to_owned(),
            found: format!("{found:?}"),
        }
    }
}
