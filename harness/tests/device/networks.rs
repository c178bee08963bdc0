//! Whole networks against the CPU.

use candle_core::{Device, Tensor, Var};
use libtest_mimic::Failed;
use nn::{Mode, Network, NetworkSpec, Precision};
use random::Stream;

use crate::compare::{failed, kinked, near, smooth};
use crate::ways;

/// Both families and shortcuts, plain and BatchEnsemble.
pub(crate) fn networks() -> Vec<(String, NetworkSpec)> {
    let named = |name: &str| NetworkSpec::named(name, 16, 10).unwrap().normalized([0.5; 3], [0.25; 3]);
    let projected = NetworkSpec { shortcut: nn::Shortcut::Projection, ..named("resnet-8") };
    let identity = NetworkSpec { shortcut: nn::Shortcut::Identity, ..named("wrn-10-2") };
    let plain = [
        ("resnet-8", named("resnet-8")),
        ("resnet-8-projection", projected),
        ("wrn-10-2", named("wrn-10-2")),
        ("wrn-10-2-identity", identity),
    ];
    let ensembles = plain.clone().map(|(name, spec)| (format!("{name}-be3"), spec.batch_ensemble(3)));
    plain.map(|(name, spec)| (name.to_owned(), spec)).into_iter().chain(ensembles).collect()
}

pub(crate) fn images(spec: &NetworkSpec, batch: usize) -> Vec<f32> {
    let mut draws = Stream::new(6, "device").draws(0, 0);
    (0..batch * 3 * spec.image * spec.image).map(|_| draws.uniform()).collect()
}

/// Logits, gradients and running statistics of a network's pass, as on the CPU.
pub(crate) fn network(spec: &NetworkSpec, mode: Mode, precision: Precision) -> Result<(), Failed> {
    const BATCH: usize = 20;
    let pass = |device: &Device, precision| -> anyhow::Result<[Vec<f32>; 4]> {
        let network = Network::new(&spec.clone().in_precision(precision), 7, device)?;
        let x = Var::from_vec(images(spec, BATCH), (BATCH, 3, spec.image, spec.image), device)?;
        let logits = network.logits(&x, mode)?;
        let labels: Vec<u32> = (0..BATCH as u32).map(|row| row % 10).collect();
        let loss = nn::loss::cross_entropy(&logits, &Tensor::new(labels.as_slice(), device)?)?;
        let gradients = loss.backward()?;
        let of = |var: &Var| -> anyhow::Result<Vec<f32>> {
            let gradient = gradients.get(var).ok_or_else(|| anyhow::anyhow!("no gradient"))?;
            Ok(gradient.flatten_all()?.to_vec1()?)
        };
        Ok([logits.flatten_all()?.to_vec1()?, network.buffers()?, of(network.params())?, of(&x)?])
    };
    let expected = pass(&Device::Cpu, Precision::F32).map_err(failed)?;
    for (way, device) in ways(precision)? {
        let found = pass(&device, precision).map_err(failed)?;
        for (index, what) in ["logits", "running statistics", "parameters", "images"].iter().enumerate() {
            let allowed = if index < 2 { smooth(precision) } else { kinked(precision) };
            near(&format!("{way}: {what}"), &found[index], &expected[index], allowed)?;
        }
    }
    Ok(())
}
