//! `divkd eval`: every metric of one run's predictions.

use anyhow::Context;
use metrics::Probs;
use results::record::{PREDICTIONS, Predictions};

use crate::cli;

/// Prints the metrics of a run's folder or of a predictions file, one a line.
///
/// # Errors
/// Where the predictions cannot be read or scored.
pub fn run(args: &cli::Eval) -> anyhow::Result<()> {
    let path = if args.path.is_dir() { args.path.join(PREDICTIONS) } else { args.path.clone() };
    let Predictions { val, test } = Predictions::read(&path)?;
    let of = |split: &str| format!("{}, {split} images", path.display());
    let temperature = val
        .probs()
        .and_then(|probs| metrics::fit_temperature(&probs, &val.labels))
        .with_context(|| of("validation"))?;
    let probs: Probs = test.probs().with_context(|| of("test"))?;
    let scores = metrics::score(&probs, &test.labels, temperature).with_context(|| of("test"))?;
    println!("members     {}", test.m);
    println!("examples    {}", test.n);
    println!("classes     {}", test.k);
    for (name, value) in [
        ("acc", scores.acc),
        ("nll", scores.nll),
        ("bs", scores.bs),
        ("ece", scores.ece),
        ("cnll", scores.cnll),
        ("cbs", scores.cbs),
        ("cece", scores.cece),
        ("sce", scores.sce),
        ("ace", scores.ace),
        ("tace", scores.tace),
        ("entropy", scores.entropy),
        ("temperature", scores.temperature),
    ] {
        println!("{name:<11} {value}");
    }
    if test.m > 1 {
        println!("kld         {}", metrics::mean_pairwise_kl(&test.logits, test.m, test.n, test.k)?);
    }
    Ok(())
}
