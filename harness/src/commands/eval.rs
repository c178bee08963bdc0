//! `divkd eval`: every metric of one run's predictions.

use anyhow::{Context, ensure};
use metrics::Probs;
use results::record::{PREDICTIONS, Predictions};

use crate::cli;
use crate::output::outln;

/// Prints the metrics of a run's folder or of a predictions file, one a line.
///
/// # Errors
/// Where the predictions cannot be read or scored, or standard output takes no more.
pub fn run(args: &cli::Eval) -> anyhow::Result<()> {
    let path = if args.path.is_dir() { args.path.join(PREDICTIONS) } else { args.path.clone() };
    ensure!(
        path.is_file(),
        "there is no {}: expected the folder of a run, <experiment>-<preset>/<row>/seed-<n>, or a file of predictions",
        path.display()
    );
    let Predictions { val, test } = Predictions::read(&path)?;
    let of = |split: &str| format!("{}, {split} images", path.display());
    let temperature = val
        .probs()
        .and_then(|probs| metrics::fit_temperature(&probs, &val.labels))
        .with_context(|| of("validation"))?;
    let probs: Probs = test.probs().with_context(|| of("test"))?;
    let scores = metrics::score(&probs, &test.labels, temperature).with_context(|| of("test"))?;
    outln!("members     {}", test.m)?;
    outln!("examples    {}", test.n)?;
    outln!("classes     {}", test.k)?;
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
        outln!("{name:<11} {value}")?;
    }
    if test.m > 1 {
        outln!("kld         {}", metrics::mean_pairwise_kl(&test.logits, test.m, test.n, test.k)?)?;
        let disagreement = metrics::mean_pairwise_disagreement(&test.logits, test.m, test.n, test.k)?;
        outln!("dis         {disagreement}")?;
    }
    Ok(())
}
