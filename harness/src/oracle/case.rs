//! One case: its settings, its tensors, and the comparisons made so far.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use candle_core::{Device, Tensor};
use nn::{Family, NamedTensor, Network, NetworkSpec, Precision, Shortcut};
use safetensors::tensor::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::Value;

use super::rounded::{Reading, Together, reading};

/// The comparison closest to, or furthest beyond, its tolerance.
#[derive(Clone, Debug)]
pub struct Worst {
    /// What was compared.
    pub what: String,
    /// The largest error found: relative to the largest expected value for a tensor, absolute for a scalar; below f32, for
    /// what lies behind a network's ReLUs, the distance over the length.
    pub error: f64,
    /// What is allowed: by the case, or by the precision.
    pub tolerance: f64,
}

impl Worst {
    /// Whether the error is within the tolerance; NaN is not.
    pub fn within(&self) -> bool {
        self.error <= self.tolerance
    }

    fn ratio(&self) -> f64 {
        let ratio = self.error / self.tolerance;
        if ratio.is_nan() { f64::INFINITY } else { ratio }
    }
}

/// A tensor as f64, whatever it was stored as.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub shape: Vec<usize>,
    pub values: Vec<f64>,
}

impl Values {
    pub(crate) fn f32(&self) -> Vec<f32> {
        self.values.iter().map(|v| *v as f32).collect()
    }

    pub(crate) fn labels(&self) -> Vec<u32> {
        self.values.iter().map(|v| *v as u32).collect()
    }

    pub(crate) fn tensor(&self, device: &Device) -> anyhow::Result<Tensor> {
        Ok(Tensor::from_vec(self.f32(), self.shape.as_slice(), device)?)
    }

    /// Entry `index` of the first dimension.
    pub(crate) fn at(&self, index: usize) -> anyhow::Result<Self> {
        let Some((&first, rest)) = self.shape.split_first() else { bail!("expected at least one dimension") };
        ensure!(index < first, "there is no entry {index} among {first}");
        let len: usize = rest.iter().product();
        Ok(Self { shape: rest.to_vec(), values: self.values[index * len..(index + 1) * len].to_vec() })
    }
}

/// A network as `case.json` describes it.
#[derive(Deserialize)]
struct NetworkSettings {
    family: String,
    shortcut: String,
    num_blocks: Vec<usize>,
    widen_factor: usize,
    in_planes: usize,
    num_classes: usize,
    pixel_mean: Vec<f32>,
    pixel_std: Vec<f32>,
    members: Option<usize>,
}

pub(crate) struct Case {
    pub folder: PathBuf,
    precision: Precision,
    settings: Value,
    tensors: BTreeMap<String, Values>,
    /// Expected names that were compared.
    seen: BTreeSet<String>,
    worst: Option<Worst>,
    /// Numbers that are measured together, by name.
    together: BTreeMap<&'static str, Together>,
}

impl Case {
    pub(crate) fn read(folder: &Path, precision: Precision) -> anyhow::Result<Self> {
        let path = folder.join("case.json");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let settings: Value = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
        let path = folder.join("tensors.safetensors");
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        let tensors = read_tensors(&bytes).with_context(|| path.display().to_string())?;
        Ok(Self {
            folder: folder.to_owned(),
            precision,
            settings,
            tensors,
            seen: BTreeSet::new(),
            worst: None,
            together: BTreeMap::new(),
        })
    }

    /// What networks and layers compute in.
    pub(crate) fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn kind(&self) -> &str {
        self.settings["kind"].as_str().unwrap_or("?")
    }

    /// A setting of the case.
    pub(crate) fn setting(&self, key: &str) -> &Value {
        &self.settings[key]
    }

    pub(crate) fn number(&self, key: &str) -> anyhow::Result<f64> {
        self.settings[key].as_f64().with_context(|| format!("case.json: `{key}` should be a number"))
    }

    pub(crate) fn count(&self, key: &str) -> anyhow::Result<usize> {
        let count =
            self.settings[key].as_u64().with_context(|| format!("case.json: `{key}` should be a count"))?;
        Ok(usize::try_from(count)?)
    }

    pub(crate) fn text(&self, key: &str) -> anyhow::Result<&str> {
        self.settings[key].as_str().with_context(|| format!("case.json: `{key}` should be a text"))
    }

    pub(crate) fn tensor(&self, name: &str) -> anyhow::Result<&Values> {
        self.tensors.get(name).with_context(|| format!("tensors.safetensors: `{name}` is missing"))
    }

    /// Whether the case has this tensor.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Tensors whose names start with `prefix`, without it.
    pub(crate) fn state(&self, prefix: &str) -> Vec<NamedTensor> {
        let named = self.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?, t)));
        named
            .map(|(name, t)| NamedTensor { name: name.to_owned(), shape: t.shape.clone(), values: t.f32() })
            .collect()
    }

    /// The network under `key` of case.json, for images (.., H, W) of `image` pixels a side, with the state under
    /// `prefix` where one is given.
    pub(crate) fn network(
        &self,
        key: &str,
        image: usize,
        prefix: Option<&str>,
        device: &Device,
    ) -> anyhow::Result<Network> {
        let settings: NetworkSettings = serde_json::from_value(self.settings[key].clone())
            .with_context(|| format!("case.json: `{key}` should describe a network"))?;
        let spec = NetworkSpec {
            family: match settings.family.as_str() {
                "resnet" => Family::ResNet,
                "preresnet" => Family::PreResNet,
                other => bail!("case.json: unknown family `{other}`"),
            },
            shortcut: match settings.shortcut.as_str() {
                "identity" => Shortcut::Identity,
                "projection" => Shortcut::Projection,
                other => bail!("case.json: unknown shortcut `{other}`"),
            },
            blocks: settings.num_blocks,
            in_planes: settings.in_planes,
            widen: settings.widen_factor,
            channels: settings.pixel_mean.len(),
            image,
            classes: settings.num_classes,
            members: settings.members,
            pixel_mean: settings.pixel_mean,
            pixel_std: settings.pixel_std,
            precision: self.precision,
        };
        let network = Network::new(&spec, 0, device)?;
        if let Some(prefix) = prefix {
            network.load_state(&self.state(prefix)).with_context(|| format!("tensors `{prefix}*`"))?;
        }
        Ok(network)
    }

    fn tolerance(&self, name: &str) -> anyhow::Result<f64> {
        let tolerances = &self.settings["tolerance"];
        tolerances[name]
            .as_f64()
            .or_else(|| tolerances["default"].as_f64())
            .context("case.json: no tolerance")
    }

    /// Compares a tensor with the expected one, `out.<name>`.
    pub(crate) fn compare(&mut self, name: &str, ours: &[f32]) -> anyhow::Result<()> {
        let ours: Vec<f64> = ours.iter().map(|v| f64::from(*v)).collect();
        self.compare_f64(name, &ours)
    }

    pub(crate) fn compare_f64(&mut self, name: &str, ours: &[f64]) -> anyhow::Result<()> {
        let full = format!("out.{name}");
        let expected = self.tensor(&full)?;
        ensure!(
            expected.values.len() == ours.len(),
            "`{full}` has {} values, ours {}",
            expected.values.len(),
            ours.len()
        );
        let reading = reading(self.precision, self.kind(), name);
        if let Reading::Together(name, tolerance) = reading {
            let before = full.strip_prefix("out.").and_then(|name| self.tensors.get(name));
            let mut together = self.together.get(name).copied().unwrap_or_default();
            together.tolerance = tolerance;
            together.add(before.map(|before| &*before.values), &expected.values, ours);
            self.together.insert(name, together);
            self.seen.insert(full);
            return Ok(());
        }
        let scale = expected.values.iter().fold(0.0_f64, |m, v| max(m, v.abs()));
        let distance = expected.values.iter().zip(ours).fold(0.0_f64, |m, (e, o)| max(m, (e - o).abs()));
        let tolerance = match reading {
            Reading::Largest(tolerance) => tolerance,
            _ => self.tolerance("default")?,
        };
        self.record(full, distance / (1e-6 + scale), tolerance);
        Ok(())
    }

    /// Compares a scalar with the expected one, `expect.<name>`.
    pub(crate) fn compare_scalar(&mut self, name: &str, ours: f64) -> anyhow::Result<()> {
        let expected = self.settings["expect"][name].as_f64();
        let expected = expected.with_context(|| format!("case.json: `expect.{name}` should be a number"))?;
        let tolerance = match reading(self.precision, self.kind(), name) {
            Reading::Largest(tolerance) => tolerance * expected.abs(),
            _ => self.tolerance(name)?,
        };
        self.record(format!("expect.{name}"), (expected - ours).abs(), tolerance);
        Ok(())
    }

    fn record(&mut self, what: String, error: f64, tolerance: f64) {
        self.seen.insert(what.clone());
        let found = Worst { what, error, tolerance };
        if self.worst.as_ref().is_none_or(|worst| found.ratio() > worst.ratio()) {
            self.worst = Some(found);
        }
    }

    /// The worst comparison, once everything that the case expects has been compared.
    pub(crate) fn finish(mut self) -> anyhow::Result<Worst> {
        let scalars =
            self.settings["expect"].as_object().into_iter().flatten().map(|(k, _)| format!("expect.{k}"));
        let tensors = self.tensors.keys().filter(|name| name.starts_with("out.")).cloned();
        let unchecked: Vec<String> =
            scalars.chain(tensors).filter(|name| !self.seen.contains(name)).collect();
        ensure!(unchecked.is_empty(), "expected but not checked: {}", unchecked.join(", "));
        for (name, together) in std::mem::take(&mut self.together) {
            self.record(name.to_owned(), together.error(), together.tolerance);
        }
        self.worst.context("the case expects nothing")
    }
}

/// The larger, NaN where one is.
fn max(a: f64, b: f64) -> f64 {
    if a.is_nan() || b <= a { a } else { b }
}

fn read_tensors(bytes: &[u8]) -> anyhow::Result<BTreeMap<String, Values>> {
    let file = SafeTensors::deserialize(bytes).map_err(|e| anyhow::anyhow!("not a safetensors file: {e}"))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let data = view.data();
        let values: Vec<f64> = match view.dtype() {
            Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))).collect(),
            Dtype::F64 => data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::I64 => data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as f64).collect(),
            other => bail!("`{name}` is {other:?}; expected F32, F64 or I64"),
        };
        tensors.insert(name, Values { shape: view.shape().to_vec(), values });
    }
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that is none is no agreement, wherever it stands and whatever follows it.
    #[test]
    fn a_nan_fails_wherever_it_is() {
        let numbers = [1.0, 2.0, 3.0];
        let error = |ours: &[f64], expected: &[f64]| {
            let tensor = Values { shape: vec![3], values: expected.to_vec() };
            let mut case = Case {
                folder: PathBuf::new(),
                precision: Precision::F32,
                settings: serde_json::json!({ "tolerance": { "default": 1.0 } }),
                tensors: BTreeMap::from([("out.a".to_owned(), tensor.clone()), ("out.b".to_owned(), tensor)]),
                seen: BTreeSet::new(),
                worst: None,
                together: BTreeMap::new(),
            };
            case.compare_f64("a", ours).unwrap();
            // What agrees does not hide it.
            case.compare_f64("b", expected).unwrap();
            case.finish().unwrap()
        };
        assert!(error(&numbers, &numbers).within());
        for place in 0..3 {
            let mut broken = numbers;
            broken[place] = f64::NAN;
            assert!(!error(&broken, &numbers).within(), "ours at {place}");
            assert!(!error(&numbers, &broken).within(), "expected at {place}");
        }
    }
}
