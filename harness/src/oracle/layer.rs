//! BatchEnsemble layers on their own: output and all gradients.

use anyhow::ensure;
use candle_core::{Device, Var};
use nn::layer::LayerSpec;

use super::case::Case;

pub(crate) fn check(case: &mut Case, device: &Device) -> anyhow::Result<()> {
    let linear = case.kind() == "be_linear";
    let weight = case.tensor("param.weight")?.shape.clone();
    let input = case.tensor("in.x")?.clone();
    let (kernel, stride, image) = if linear {
        (1, 1, 1)
    } else {
        ensure!(input.shape.len() == 4 && weight.len() == 4, "expected `in.x` (N, C, H, W)");
        ensure!(
            input.shape[2] == input.shape[3] && weight[2] == weight[3],
            "expected a square image and kernel"
        );
        ensure!(case.count("padding")? == weight[2] / 2, "expected a padding of half the kernel");
        (weight[2], case.count("stride")?, input.shape[2])
    };
    ensure!(
        weight.len() >= 2 && input.shape.len() >= 2,
        "expected `in.x` and `param.weight` of two dimensions or more"
    );
    let members = case.count("members")?;
    let spec = LayerSpec {
        channels_in: weight[1],
        channels_out: weight[0],
        kernel,
        stride,
        image,
        members: Some(members),
        linear,
    };
    let layer = spec.build_in(0, case.precision(), device)?;
    let mut state = case.state("param.");
    for tensor in &mut state {
        tensor.name.insert_str(0, "layer.");
    }
    layer.load_state(&state)?;
    let x = input.tensor(device)?.reshape((input.shape[0], weight[1], image, image))?;
    let x = Var::from_tensor(&x)?;
    let y = layer.logits(&x, nn::Mode::Eval)?;
    case.compare("y", &y.flatten_all()?.to_vec1()?)?;
    let grad_y = case.tensor("in.grad_y")?.tensor(device)?.reshape(y.shape())?;
    let gradients = (&y * grad_y)?.sum_all()?.backward()?;
    if let Some(grad) = gradients.get(&x) {
        case.compare("grad_x", &grad.flatten_all()?.to_vec1()?)?;
    }
    if let Some(grad) = gradients.get(layer.params()) {
        let grad: Vec<f32> = grad.to_vec1()?;
        for entry in layer.layout().entries() {
            let name = entry.name.trim_start_matches("layer.");
            case.compare(&format!("grad_{name}"), &grad[entry.range()])?;
        }
    }
    Ok(())
}
