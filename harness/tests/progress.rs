//! What a step knows of the training around it.

use std::sync::Mutex;

use anyhow::bail;
use candle_core::Device;
use datasets::Loader;
use harness::experiments::Experiment;
use harness::progress::{RunProgress, Shown};
use harness::train::batches::Batches;
use harness::train::training::{Setting, Training};
use harness::{config, loading, model};
use methods::distill::cross_entropy_only;
use methods::{Batch, Loss, Method, Step};
use nn::{Network, Result};

/// A method that notes the progress of its steps.
#[derive(Default)]
struct Watch(Mutex<Vec<f64>>);

impl Method for Watch {
    fn uses_teachers(&self) -> bool {
        false
    }

    fn loss(&self, batch: &Batch, step: &Step<'_>) -> Result<Loss> {
        self.0.lock().unwrap().push(step.progress);
        cross_entropy_only(batch, step)
    }
}

/// The share of all steps that are over, also in an epoch that goes on where it was stopped.
#[test]
fn a_step_knows_how_much_is_over() {
    let experiment = Experiment::find("quick").unwrap();
    let config = config::resolve(&experiment, Some("smoke"), &[]).unwrap().config;
    let splits = loading::splits(&config.data, None).unwrap();
    let (method, recipe, device) = (Watch::default(), &config.student, Device::Cpu);
    let optimiser = model::optimiser(recipe, &method, config.members);
    let loader = Loader::new(&splits.train, recipe.batch, 3, Some(config.data.pad));
    let setting = Setting {
        method: &method,
        recipe,
        optimiser,
        teachers: &[],
        groups: config.bn_groups,
        micro_batch: None,
        seed: 3,
        batches: Batches::new(loader, &device).unwrap(),
        images: splits.train.len(),
        val: &splits.val,
        device: &device,
    };
    let steps = setting.batches.per_epoch();
    let folder = tempfile::tempdir().unwrap();
    let shown = Shown {
        label: "watched".to_owned(),
        dir: folder.path().to_owned(),
        epochs: recipe.epochs,
        steps,
        images: setting.images,
    };
    let progress = RunProgress::new(shown, 0);
    let spec = method.student(&model::spec(&config).unwrap(), config.members);
    let network = Network::new(&spec, 3, &device).unwrap();
    let sgd = optimiser.sgd(&network);
    let mut training = Training::new(network, sgd);
    let stopped = training.epoch(&setting, &progress, |training, _| {
        if training.tally.len() == 2 { bail!("stopped") } else { Ok(()) }
    });
    assert_eq!(stopped.unwrap_err().to_string(), "stopped");
    while training.epochs.len() < recipe.epochs {
        training.epoch(&setting, &progress, |_, _| Ok(())).unwrap();
    }
    let found = method.0.into_inner().unwrap();
    let all = recipe.epochs * steps;
    assert!(steps > 2 && recipe.epochs > 1 && found.len() == all, "{found:?}");
    for (step, progress) in found.into_iter().enumerate() {
        assert!((progress - step as f64 / all as f64).abs() < 1e-12, "step {step} of {all}: {progress}");
    }
}
