//! The optimiser.

use candle_core::{Device, Tensor};
use libtest_mimic::Failed;
use nn::{Network, NetworkSpec, Sgd, SgdSettings};
use random::Stream;

use crate::compare::{failed, same};
use crate::opened;

/// The optimiser's step has the CPU's bits, and goes on from a momentum that is carried over.
pub(crate) fn optimiser() -> Result<(), Failed> {
    let spec = NetworkSpec::named("resnet-8", 16, 10).map_err(failed)?.batch_ensemble(2);
    let settings = SgdSettings { momentum: 0.9, weight_decay: 5e-4, weight_decay_fast: 1e-4, nesterov: true };
    let run = |device: &Device| -> anyhow::Result<(Vec<f32>, Vec<f32>)> {
        let network = Network::new(&spec, 1, device)?;
        let mut sgd = Sgd::new(&network, settings).decaying_towards(1.0);
        let count = network.layout().parameter_count();
        for step in 0..4 {
            let mut draws = Stream::new(step, "device").draws(0, 0);
            let gradient: Vec<f32> = (0..count).map(|_| draws.normal()).collect();
            sgd.apply(&network, &Tensor::from_vec(gradient, count, device)?, 0.1, 0.05)?;
            let momentum = sgd.momentum()?;
            sgd.load_momentum(&momentum)?;
        }
        Ok((network.params().to_vec1()?, sgd.momentum()?))
    };
    let (found, expected) = (run(&opened()?).map_err(failed)?, run(&Device::Cpu).map_err(failed)?);
    same("parameters", &found.0, &expected.0)?;
    same("momentum", &found.1, &expected.1)
}
