//! The steps that `divkd bench step` and the plan's estimate cost, in operations.

use candle_core::Device;
use harness::bench::{self, StepBench};
use nn::NetworkSpec;

/// Every registered method, with the settings of the experiment that has them all. In forward passes of a plain network over the
/// batch, by hand: a training pass is three (forward, by activations, by weights) for each of M subnetworks, a teacher's
/// prediction one, a direction of ODS two (there and back to the images), a perturbed student trains twice; TDiv-SDiv goes
/// there and back through one teacher and all M subnetworks, and there through another teacher.
#[test]
fn operations_of_every_methods_step() {
    let (batch, members) = (4, 3);
    let bench = StepBench {
        config: bench::settings(bench::EXPERIMENT).unwrap(),
        network: "resnet-8".to_owned(),
        batch,
        classes: 10,
        members,
        image: 8,
        warmup: 0,
        steps: 1,
        precision: nn::Precision::F32,
        micro_batch: None,
    };
    let plain = NetworkSpec::named("resnet-8", 8, 10).unwrap();
    let forward = (2 * plain.multiply_adds().unwrap() * batch as u64) as f64;
    let m = members as f64;
    for entry in methods::registry() {
        let measured = bench.run(entry.name, &Device::Cpu, false).unwrap();
        let passes = measured.operations / forward;
        let expected = match entry.name {
            "teacher" => 3.0,
            "kd" => 3.0 + m,
            "be" => 3.0 * m,
            "be-kd" | "latent-be" => 3.0 * m + m,
            "be-kd-gaussian" => 6.0 * m + m,
            "be-kd-ods" | "be-kd-conf-ods" => 6.0 * m + m + 2.0,
            "latent-be-tdiv-sdiv" => 3.0 * m + m + 3.0 + 2.0 * m,
            // New ones train something.
            _ => {
                assert!(passes >= 3.0, "{}: {passes}", entry.name);
                continue;
            }
        };
        assert_eq!(passes, expected, "{}", entry.name);
    }
}
