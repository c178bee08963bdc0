//! Every metric against the authors' official PyTorch implementation (repository cs-giung/giung2), whose numbers on
//! random logits are kept in tests/data: inputs and expected outputs only, with their tolerances.

use std::collections::BTreeMap;
use std::path::Path;

use metrics::{Probs, Scores, fit_temperature, mean_pairwise_kl, pairwise_kl, score};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

struct Split {
    /// (M, N, K), from the cases' (N, M, K).
    logits: Vec<f32>,
    labels: Vec<u32>,
    m: usize,
    n: usize,
    k: usize,
}

impl Split {
    fn read(tensors: &SafeTensors<'_>, logits: &str, labels: &str) -> Self {
        let view = tensors.tensor(logits).unwrap();
        let &[n, m, k] = view.shape() else { panic!("{logits}: shape {:?}", view.shape()) };
        let by_example = floats(tensors, logits);
        let logits = (0..m)
            .flat_map(|j| (0..n).map(move |i| (i * m + j) * k))
            .flat_map(|start| by_example[start..][..k].iter().copied())
            .collect();
        let labels = tensors.tensor(labels).unwrap();
        assert_eq!(labels.dtype(), Dtype::I64);
        let (words, _) = labels.data().as_chunks::<8>();
        let labels = words.iter().map(|word| u32::try_from(i64::from_le_bytes(*word)).unwrap()).collect();
        Self { logits, labels, m, n, k }
    }

    fn probs(&self) -> Probs {
        Probs::mean_of_members(&self.logits, self.m, self.n, self.k).unwrap()
    }
}

fn floats(tensors: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let view = tensors.tensor(name).unwrap();
    assert_eq!(view.dtype(), Dtype::F32, "{name}");
    view.data().as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

fn check(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let case: Value = serde_json::from_slice(&std::fs::read(folder.join("case.json")).unwrap()).unwrap();
    let bytes = std::fs::read(folder.join("tensors.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let val = Split::read(&tensors, "in.val_logits", "in.val_labels");
    let test = Split::read(&tensors, "in.logits", "in.labels");

    let temperature = fit_temperature(&val.probs(), &val.labels).unwrap();
    let Scores { acc, nll, bs, ece, cnll, cbs, cece, temperature, sce, ace, tace, entropy } =
        score(&test.probs(), &test.labels, temperature).unwrap();
    let mean_kl = mean_pairwise_kl(&test.logits, test.m, test.n, test.k).unwrap();
    let ours = BTreeMap::from([
        ("acc", acc),
        ("nll", nll),
        ("bs", bs),
        ("ece", ece),
        ("cnll", cnll),
        ("cbs", cbs),
        ("cece", cece),
        ("temperature", temperature),
        ("sce", sce),
        ("ace", ace),
        ("tace", tace),
        ("entropy", entropy),
        ("pairwise_kl", mean_kl),
    ]);

    let tolerance = |key: &str| {
        let table = &case["tolerance"];
        table.get(key).unwrap_or(&table["default"]).as_f64().unwrap()
    };
    let expect = case["expect"].as_object().unwrap();
    assert_eq!(expect.len(), ours.len(), "{name}: the case and this test must cover the same scalars");
    for (key, expected) in expect {
        let expected = expected.as_f64().unwrap();
        let found = ours[key.as_str()];
        let error = (found - expected).abs();
        assert!(error <= tolerance(key), "{name}: {key} is {found}, expected {expected}, error {error:e}");
    }

    let expected = floats(&tensors, "out.pairwise_kl");
    let found = pairwise_kl(&test.logits, test.m, test.n, test.k).unwrap();
    assert_eq!(found.len(), expected.len());
    let scale = 1e-6 + expected.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max);
    for (example, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let error = (found - f64::from(*expected)).abs() / scale;
        assert!(error <= tolerance("default"), "{name}: pairwise_kl of example {example}, error {error:e}");
    }
}

#[test]
fn ten_classes() {
    check("metrics-c10");
}

#[test]
fn a_hundred_classes_overconfident() {
    check("metrics-c100-overconfident");
}
