//! `predictions.safetensors`: a network's logits on the validation and the test split, with the labels, so that a table
//! needs neither the data set nor the model.
//!
//! Tensors: `val.logits` and `test.logits` (M, N, K), f32 or f16, member-major; `val.labels` and `test.labels` (N), i64.
//! The file's metadata has a CRC-32C of these, in that order: a damaged number is found on reading. (Files of before have none.)
//! Equal predictions are written as equal bytes.

use std::fs;
use std::path::Path;

use half::f16;
use metrics::Probs;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::{Error, Result};

/// The tensors, in the order in which the checksum takes their bytes.
const TENSORS: [&str; 4] = ["val.logits", "val.labels", "test.logits", "test.labels"];
/// The checksum's name in the file's metadata.
const CHECKSUM: &str = "crc32c";

/// The checksum of tensors' bytes, in hexadecimal.
fn checksum<'a>(tensors: impl Iterator<Item = &'a [u8]>) -> String {
    format!("{:08x}", tensors.fold(0, crc32c::crc32c_append))
}

/// What a network predicts for one split of the data.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// Logits (M, N, K), member-major.
    pub logits: Vec<f32>,
    /// True classes (N), each under K.
    pub labels: Vec<u32>,
    /// Members M: 1 for a plain network.
    pub m: usize,
    /// Examples N.
    pub n: usize,
    /// Classes K.
    pub k: usize,
}

impl Split {
    /// The members' averaged probabilities (N, K).
    ///
    /// # Errors
    /// Where the logits do not have the split's shape or are not finite.
    pub fn probs(&self) -> metrics::Result<Probs> {
        Probs::mean_of_members(&self.logits, self.m, self.n, self.k)
    }
}

/// What a run predicts.
#[derive(Clone, Debug, PartialEq)]
pub struct Predictions {
    /// On the validation split, which temperature is fitted on.
    pub val: Split,
    /// On the test split, which is scored.
    pub test: Split,
}

impl Predictions {
    /// Writes the predictions with f32 logits.
    ///
    /// # Errors
    /// Where the values do not have their shapes, the splits differ in members or classes, a label is not a class, or
    /// the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.write_as(path, Dtype::F32, |logit| Some(logit.to_le_bytes()))
    }

    /// Writes the predictions with logits rounded to f16, half the size: for records that are kept. Scores are then
    /// those of the rounded logits.
    ///
    /// # Errors
    /// As [`Predictions::write`], or where a logit is too large for f16.
    pub fn write_half(&self, path: &Path) -> Result<()> {
        self.write_as(path, Dtype::F16, |logit| {
            let rounded = f16::from_f32(logit);
            (rounded.is_finite() || !logit.is_finite()).then(|| rounded.to_le_bytes())
        })
    }

    /// The predictions as [`Predictions::write_half`] keeps them.
    #[must_use]
    pub fn in_half(mut self) -> Self {
        for logit in self.val.logits.iter_mut().chain(&mut self.test.logits) {
            *logit = f16::from_f32(*logit).to_f32();
        }
        self
    }

    /// Reads predictions.
    ///
    /// # Errors
    /// Where the file cannot be read, is not in the safetensors format, lacks a tensor or does not fit its checksum, or a
    /// tensor has another type or shape, the splits differ in members or classes, or a label is not a class.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        let file = File {
            path,
            tensors: SafeTensors::deserialize(&bytes)
                .map_err(|source| Error::Safetensors { path: path.to_owned(), source })?,
        };
        file.check_sum(&bytes)?;
        let predictions = Self { val: file.split("val")?, test: file.split("test")? };
        predictions.check(path)?;
        Ok(predictions)
    }

    fn write_as<const BYTES: usize>(
        &self,
        path: &Path,
        dtype: Dtype,
        encode: impl Fn(f32) -> Option<[u8; BYTES]>,
    ) -> Result<()> {
        self.check(path)?;
        let mut encoded = Vec::new();
        for (name, split) in self.splits() {
            let mut logits = Vec::with_capacity(split.logits.len() * BYTES);
            for &logit in &split.logits {
                let bytes = encode(logit).ok_or_else(|| Error::Tensor {
                    path: path.to_owned(),
                    name: format!("{name}.logits"),
                    expected: "logits in the range of f16 (store them as f32)".into(),
                    found: logit.to_string(),
                })?;
                logits.extend_from_slice(&bytes);
            }
            let labels: Vec<u8> =
                split.labels.iter().flat_map(|&label| i64::from(label).to_le_bytes()).collect();
            encoded.push((format!("{name}.logits"), dtype, vec![split.m, split.n, split.k], logits));
            encoded.push((format!("{name}.labels"), Dtype::I64, vec![split.n], labels));
        }
        let invalid = |source| Error::Safetensors { path: path.to_owned(), source };
        let views = encoded
            .iter()
            .map(|(name, dtype, shape, bytes)| Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?)))
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(invalid)?;
        let sum = checksum(encoded.iter().map(|(_, _, _, bytes)| bytes.as_slice()));
        let metadata = [(CHECKSUM.to_owned(), sum)].into();
        let bytes = safetensors::serialize(views, Some(metadata)).map_err(invalid)?;
        fs::write(path, bytes).map_err(Error::io("write", path))
    }

    fn splits(&self) -> [(&'static str, &Split); 2] {
        [("val", &self.val), ("test", &self.test)]
    }

    /// The invariants of the layout, held on writing and reading.
    fn check(&self, path: &Path) -> Result<()> {
        let wrong = |name: String, expected: String, found: String| {
            Err(Error::Tensor { path: path.to_owned(), name, expected, found })
        };
        for (name, split) in self.splits() {
            let &Split { m, n, k, .. } = split;
            let logits = m.checked_mul(n).and_then(|count| count.checked_mul(k)).filter(|count| *count > 0);
            if logits != Some(split.logits.len()) {
                return wrong(
                    format!("{name}.logits"),
                    format!("at least one value, as many as the shape ({m}, {n}, {k}) has"),
                    format!("{} values", split.logits.len()),
                );
            }
            if split.labels.len() != n {
                return wrong(
                    format!("{name}.labels"),
                    format!("{n} labels, as many as examples in {name}.logits"),
                    format!("{} labels", split.labels.len()),
                );
            }
            if let Some(label) = split.labels.iter().find(|label| **label as usize >= k) {
                return wrong(format!("{name}.labels"), format!("classes in 0..{k}"), label.to_string());
            }
        }
        if (self.val.m, self.val.k) != (self.test.m, self.test.k) {
            return wrong(
                "test.logits".into(),
                format!("{} members and {} classes as val.logits has", self.val.m, self.val.k),
                format!("{} members and {} classes", self.test.m, self.test.k),
            );
        }
        Ok(())
    }
}

/// A predictions file in memory.
struct File<'a> {
    path: &'a Path,
    tensors: SafeTensors<'a>,
}

impl File<'_> {
    /// Holds the tensors to the checksum of the file's `bytes`, where that has one.
    fn check_sum(&self, bytes: &[u8]) -> Result<()> {
        let (_, metadata) = SafeTensors::read_metadata(bytes)
            .map_err(|source| Error::Safetensors { path: self.path.to_owned(), source })?;
        let Some(stored) = metadata.metadata().as_ref().and_then(|entries| entries.get(CHECKSUM)) else {
            return Ok(());
        };
        let tensors = TENSORS.map(|name| self.tensor(name));
        let tensors = tensors.into_iter().collect::<Result<Vec<_>>>()?;
        let found = checksum(tensors.iter().map(TensorView::data));
        if found == *stored {
            Ok(())
        } else {
            Err(Error::Checksum { path: self.path.to_owned(), stored: stored.clone(), found })
        }
    }

    fn split(&self, name: &str) -> Result<Split> {
        let ([m, n, k], logits) = self.logits(&format!("{name}.logits"))?;
        Ok(Split { logits, labels: self.labels(&format!("{name}.labels"))?, m, n, k })
    }

    fn logits(&self, name: &str) -> Result<([usize; 3], Vec<f32>)> {
        let view = self.tensor(name)?;
        let shape = view.shape().try_into().map_err(|_| self.wrong(name, "shape (M, N, K)", view.shape()))?;
        let logits = match view.dtype() {
            Dtype::F32 => view.data().as_chunks().0.iter().map(|word| f32::from_le_bytes(*word)).collect(),
            Dtype::F16 => {
                view.data().as_chunks().0.iter().map(|word| f16::from_le_bytes(*word).to_f32()).collect()
            }
            other => return Err(self.wrong(name, "f32 or f16", other)),
        };
        Ok((shape, logits))
    }

    fn labels(&self, name: &str) -> Result<Vec<u32>> {
        let view = self.tensor(name)?;
        if view.dtype() != Dtype::I64 {
            return Err(self.wrong(name, "i64", view.dtype()));
        }
        if view.shape().len() != 1 {
            return Err(self.wrong(name, "shape (N)", view.shape()));
        }
        let words = view.data().as_chunks().0.iter().map(|word| i64::from_le_bytes(*word));
        words
            .map(|label| u32::try_from(label).map_err(|_| self.wrong(name, "class indices", label)))
            .collect()
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        self.tensors.tensor(name).map_err(|source| Error::Safetensors { path: self.path.to_owned(), source })
    }

    fn wrong(&self, name: &str, expected: &str, found: impl std::fmt::Debug) -> Error {
        Error::Tensor {
            path: self.path.to_owned(),
            name: name.into(),
            expected: expected.into(),
            found: format!("{found:?}"),
        }
    }
}
