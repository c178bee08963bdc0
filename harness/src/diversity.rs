//! The line `train-kld`: how much the teachers disagree on training images, clean and perturbed (the paper's figure 3,
//! training data, in four numbers).
//!
//! The value is the mean pairwise KL divergence of the teachers' predictions at temperature 1. Perturbations are those
//! of the students' methods, with the experiment's tau and eta; of the first M teachers one is drawn for
//! each batch-norm group of a batch. Values are stored
//! as `train-kld.csv` beside the records, a line a seed, so that they are computed once.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use methods::Streams;
use methods::be_kd_conf_ods::BeKdConfOds;
use methods::be_kd_gaussian::BeKdGaussian;
use methods::be_kd_ods::BeKdOds;
use methods::distill::teacher_logits;
use methods::perturb::{gaussian, ods};
use random::Stream;

use crate::interrupt;
use crate::model;
use crate::plan::Row;
use crate::train::evaluate::{self, Logits};
use crate::train::run::{self, Session};

/// File of the teachers' diversity, beside an experiment's rows.
pub const TRAIN_KLD: &str = "train-kld.csv";

/// The file's header.
const HEADER: &str = "seed,clean,gaussian,ods,conf-ods";

/// The names of the values, in order.
pub const NAMES: [&str; 4] = ["clean", "gaussian", "ods", "conf-ods"];

/// Measures the teachers of `seed`: values in the order of [`NAMES`].
///
/// # Errors
/// Where a teacher's record is missing, or the device fails.
pub fn measure(session: &Session<'_>, seed: u64) -> anyhow::Result<[f64; 4]> {
    let config = &session.resolved.config;
    let settings = |name: &str| config.method.get(name).cloned().unwrap_or_default();
    let by_gaussian: BeKdGaussian = settings("be-kd-gaussian").try_into()?;
    let by_ods: BeKdOds = settings("be-kd-ods").try_into()?;
    let by_conf_ods: BeKdConfOds = settings("be-kd-conf-ods").try_into()?;

    let rows: Vec<Row> = (1..=config.members).map(Row::Teacher).collect();
    let teachers = run::teachers(session, seed, &rows, &model::spec(config)?)?;
    let (data, device, batch) = (&session.splits.train, &session.device.device, config.teacher.batch);
    let empty = || Logits::zeros(teachers.len(), data.len(), data.classes);
    let mut all = [empty(), empty(), empty(), empty()];
    let noise_seed = Stream::new(seed, "train-kld").draws(0, 0).next_u64();
    for (step, start) in (0..data.len()).step_by(batch).enumerate() {
        interrupt::check()?;
        let images = evaluate::images(data, start, batch, device)?;
        let noise = Streams { seed: noise_seed, epoch: 0, step: step as u64 };
        let directions = |tau| ods(&teachers, &images, &noise, config.bn_groups, tau);
        let inputs = [
            images.clone(),
            gaussian(&images, &noise, by_gaussian.eta)?,
            directions(by_ods.tau)?.perturb(by_ods.eta)?,
            directions(by_conf_ods.tau)?.perturb_by_confidence(by_conf_ods.eta)?,
        ];
        for (logits, input) in all.iter_mut().zip(&inputs) {
            logits.place(start, &teacher_logits(&teachers, input)?)?;
        }
    }
    let mut means = [0.0; 4];
    for (mean, Logits { values, m, n, k }) in means.iter_mut().zip(&all) {
        *mean = metrics::mean_pairwise_kl(values, *m, *n, *k)?;
    }
    Ok(means)
}

/// The stored values of an experiment's folder.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainKld {
    path: PathBuf,
    /// Seed and values, by seed.
    rows: Vec<(u64, [f64; 4])>,
}

impl TrainKld {
    /// Reads what `folder` has; nothing where there is no file yet.
    ///
    /// # Errors
    /// Where the file is not what [`TrainKld::insert`] writes.
    pub fn open(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(TRAIN_KLD);
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        let mut lines = text.lines();
        if let Some(header) = lines.next().filter(|header| *header != HEADER) {
            bail!("{}: expected the header {HEADER}, found {header}", path.display());
        }
        let parse = |line: &str| -> Option<(u64, [f64; 4])> {
            let (seed, values) = line.split_once(',')?;
            let values: Vec<f64> = values.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
            Some((seed.parse().ok()?, values.try_into().ok()?))
        };
        let mut rows = Vec::new();
        for line in lines {
            let row = parse(line);
            rows.push(row.with_context(|| format!("{}: expected {HEADER}, found {line}", path.display()))?);
        }
        Ok(Self { path, rows })
    }

    /// The values of a seed, where they are stored.
    pub fn get(&self, seed: u64) -> Option<[f64; 4]> {
        self.rows.iter().find(|(stored, _)| *stored == seed).map(|(_, values)| *values)
    }

    /// Stores the values of a seed.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn insert(&mut self, seed: u64, values: [f64; 4]) -> anyhow::Result<()> {
        self.rows.retain(|(stored, _)| *stored != seed);
        self.rows.push((seed, values));
        self.rows.sort_by_key(|(seed, _)| *seed);
        let mut text = format!("{HEADER}\n");
        for (seed, values) in &self.rows {
            let values = values.map(|value| value.to_string()).join(",");
            text.push_str(&format!("{seed},{values}\n"));
        }
        let draft = self.path.with_file_name(".tmp-train-kld.csv");
        File::create(&draft)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .and_then(|()| fs::rename(&draft, &self.path))
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// `train-kld clean=.. gaussian=.. ods=.. conf-ods=..`: means over `seeds`, which must all be stored.
    pub fn line(&self, seeds: &[u64]) -> Option<String> {
        let rows: Vec<[f64; 4]> = seeds.iter().map(|seed| self.get(*seed)).collect::<Option<_>>()?;
        let mut line = "train-kld".to_owned();
        for (at, name) in NAMES.iter().enumerate() {
            let mean = rows.iter().map(|row| row[at]).sum::<f64>() / rows.len() as f64;
            line.push_str(&format!(" {name}={mean:.4}"));
        }
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_back_exactly_and_averaged() {
        let folder = tempfile::tempdir().unwrap();
        let mut kld = TrainKld::open(folder.path()).unwrap();
        assert_eq!(kld.line(&[1]), None);
        kld.insert(2, [0.1, 0.2, 1.0 / 3.0, 0.4]).unwrap();
        kld.insert(1, [0.3, 0.4, 0.5, 0.6]).unwrap();
        let read = TrainKld::open(folder.path()).unwrap();
        assert_eq!(read, kld);
        assert_eq!(
            read.line(&[1, 2]).unwrap(),
            "train-kld clean=0.2000 gaussian=0.3000 ods=0.4167 conf-ods=0.5000"
        );
        assert_eq!(read.line(&[1, 3]), None);
    }

    #[test]
    fn a_foreign_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("train-kld.csv"), "seed,clean\n1,0.5\n").unwrap();
        let message = TrainKld::open(folder.path()).unwrap_err().to_string();
        assert!(message.contains("train-kld.csv: expected the header"), "{message}");
    }
}
