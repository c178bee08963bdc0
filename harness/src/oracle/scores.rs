//! Metrics and the learning-rate schedule.

use anyhow::{Context, ensure};
use metrics::Probs;
use nn::Schedule;
use nn::schedule::Decay;

use super::case::{Case, Values};

/// (N, M, K) to member-major (M, N, K).
fn member_major(logits: &Values) -> anyhow::Result<(Vec<f32>, [usize; 3])> {
    let [n, m, k] = logits.shape[..] else {
        anyhow::bail!("expected logits (N, M, K), found {:?}", logits.shape)
    };
    let from = logits.f32();
    let mut to = Vec::with_capacity(from.len());
    for member in 0..m {
        for example in 0..n {
            to.extend_from_slice(&from[(example * m + member) * k..][..k]);
        }
    }
    Ok((to, [m, n, k]))
}

pub(crate) fn check(case: &mut Case) -> anyhow::Result<()> {
    let bins = case.count("ece_bins")?;
    let (logits, [m, n, k]) = member_major(case.tensor("in.logits")?)?;
    let labels = case.tensor("in.labels")?.labels();
    let (val_logits, [val_m, val_n, val_k]) = member_major(case.tensor("in.val_logits")?)?;
    let val_labels = case.tensor("in.val_labels")?.labels();
    let probs = Probs::mean_of_members(&logits, m, n, k)?;
    let val = Probs::mean_of_members(&val_logits, val_m, val_n, val_k)?;
    let temperature = metrics::fit_temperature(&val, &val_labels)?;
    let scores = metrics::score(&probs, &labels, temperature)?;
    let pairwise = metrics::pairwise_kl(&logits, m, n, k)?;
    case.compare_f64("pairwise_kl", &pairwise)?;
    let expected: Vec<String> =
        case.setting("expect").as_object().context("case.json: no `expect`")?.keys().cloned().collect();
    for name in expected {
        let ours = match name.as_str() {
            "acc" => scores.acc,
            "nll" => scores.nll,
            "bs" => scores.bs,
            "ece" => metrics::ece(&probs, &labels, bins)?,
            "sce" => metrics::sce(&probs, &labels, bins)?,
            "ace" => metrics::ace(&probs, &labels, bins)?,
            "tace" => metrics::tace(&probs, &labels, bins, metrics::TACE_THRESHOLD)?,
            "temperature" => temperature,
            "cnll" => scores.cnll,
            "cbs" => scores.cbs,
            "cece" => metrics::ece(&probs.scaled(temperature)?, &labels, bins)?,
            "entropy" => scores.entropy,
            "pairwise_kl" => pairwise.iter().sum::<f64>() / pairwise.len() as f64,
            _ => anyhow::bail!("case.json: unknown metric `{name}`"),
        };
        case.compare_scalar(&name, ours)?;
    }
    Ok(())
}

pub(crate) fn check_schedule(case: &mut Case) -> anyhow::Result<()> {
    ensure!(case.text("name")? == "warmup_linear_decay", "unknown schedule `{}`", case.text("name")?);
    let milestones: Vec<usize> = serde_json::from_value(case.setting("milestones").clone())?;
    let milestones =
        milestones.try_into().map_err(|m| anyhow::anyhow!("expected three milestones, found {m:?}"))?;
    let (warmup_factor, gamma) = (case.number("warmup_factor")?, case.number("gamma")?);
    let schedule = Schedule { milestones, warmup_factor, gamma, decay: Decay::Linear };
    let factors: Vec<f64> = (1..=case.count("epochs")?).map(|epoch| schedule.factor(epoch, 0.0)).collect();
    case.compare_f64("factor", &factors)
}
