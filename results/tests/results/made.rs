//! Small records with deterministic predictions: logits are a signal on the true class plus noise from named streams,
//! so that tables have rows of different quality.

mod arrays;

use std::collections::BTreeMap;
use std::path::Path;

use random::Stream;
use results::record::{
    DataInfo, EpochRow, LogRow, METRICS, PREDICTIONS, Place, Predictions, RUN, Record, RunInfo, Split,
    SplitRows, TIMING, TimingRow,
};

pub(crate) use arrays::{analysis, student_analysis, teachers_analysis, uniforms};

/// Classes of every made record.
pub(crate) const CLASSES: usize = 5;

/// A run to be made.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) experiment: &'static str,
    pub(crate) preset: &'static str,
    pub(crate) row: String,
    pub(crate) seed: u64,
    pub(crate) members: usize,
    /// How far the true class's logit is raised, against noise of standard deviation 2.
    pub(crate) signal: f32,
    /// The resolved configuration.
    pub(crate) config: toml::Table,
    /// Hashes of its model and its teachers', by row.
    pub(crate) models: BTreeMap<String, String>,
}

/// A configuration: of the published protocol for `cifar100`, else of an optimiser alone.
fn config(experiment: &str) -> toml::Table {
    let text = match experiment {
        "cifar100" => {
            "network = \"wrn-28-10\"\n\
             [data]\ndataset = \"cifar100\"\nimage = 32\ntrain_rows = 45000\nval_rows = 5000\ntest_rows = 10000\n\
             [teacher]\nepochs = 300\n[student]\nepochs = 300\n"
        }
        _ => "epochs = 3\n[optimiser]\nlr = 0.05\nmomentum = 0.9\n",
    };
    toml::from_str(text).unwrap()
}

impl Made {
    pub(crate) fn new(experiment: &'static str, preset: &'static str, row: &str, seed: u64) -> Self {
        let members = if row.starts_with("be") { 4 } else { 1 };
        let config = config(experiment);
        let models = BTreeMap::new();
        Self { experiment, preset, row: row.to_owned(), seed, members, signal: 2.0, config, models }
    }

    pub(crate) fn signal(self, signal: f32) -> Self {
        Self { signal, ..self }
    }

    pub(crate) fn members(self, members: usize) -> Self {
        Self { members, ..self }
    }

    pub(crate) fn place(&self) -> Place {
        Place::new(self.experiment, self.preset, &self.row, self.seed).unwrap()
    }

    pub(crate) fn info(&self) -> RunInfo {
        RunInfo {
            protocol: "1".into(),
            experiment: self.experiment.into(),
            preset: self.preset.into(),
            row: self.row.clone(),
            seed: self.seed,
            command: format!("divkd reproduce {} --preset {}", self.experiment, self.preset),
            revision: "0123abc".into(),
            device: "cpu".into(),
            machine: Some("x86_64-linux avx2".into()),
            threads: 2,
            versions: BTreeMap::from([("divkd".into(), "0.1.0".into()), ("candle".into(), "0.11.1".into())]),
            models: self.models.clone(),
            data: DataInfo {
                note: "all rows".to_owned(),
                source: "synthetic".into(),
                rows: SplitRows { train: 100, val: 40, test: 60 },
                sha256: BTreeMap::from([("train.parquet".into(), "00ff".into())]),
            },
            config: self.config.clone(),
        }
    }

    pub(crate) fn predictions(&self) -> Predictions {
        Predictions { val: self.split("val", 40), test: self.split("test", 60) }
    }

    fn split(&self, name: &str, n: usize) -> Split {
        let mut of_labels = Stream::new(self.seed, name).draws(0, 0);
        let labels: Vec<u32> = (0..n).map(|_| of_labels.below(CLASSES as u32)).collect();
        let mut noise = Stream::new(self.seed, &format!("{} {name}", self.row)).draws(0, 0);
        let mut logits = Vec::with_capacity(self.members * n * CLASSES);
        for _ in 0..self.members {
            for &label in &labels {
                for class in 0..CLASSES as u32 {
                    let signal = if class == label { self.signal } else { 0.0 };
                    logits.push(signal + 2.0 * noise.normal());
                }
            }
        }
        Split { logits, labels, m: self.members, n, k: CLASSES }
    }

    pub(crate) fn epochs() -> [EpochRow; 2] {
        [
            EpochRow {
                epoch: 1,
                lr: 0.05,
                loss: 1.5,
                ce: Some(1.25),
                kd: Some(1.0 / 3.0),
                train_acc: 0.5,
                val_acc: None,
                val_nll: None,
            },
            EpochRow {
                epoch: 2,
                lr: 5e-4,
                loss: 1e-7,
                ce: None,
                kd: None,
                train_acc: 1.0,
                val_acc: Some(0.75),
                val_nll: Some(0.7),
            },
        ]
    }

    /// Writes everything but the predictions' file into the draft, which is returned.
    pub(crate) fn draft(&self, out: &Path) -> std::path::PathBuf {
        let draft = self.place().begin(out).unwrap();
        self.info().write(&draft.join(RUN)).unwrap();
        EpochRow::write_all(&Self::epochs(), &draft.join(METRICS)).unwrap();
        let timing = TimingRow { epoch: 1, seconds: 2.5, images_per_s: 40.0 };
        TimingRow::write_all(&[timing], &draft.join(TIMING)).unwrap();
        draft
    }

    /// Makes the finished record.
    pub(crate) fn write(&self, out: &Path) -> Record {
        let draft = self.draft(out);
        self.predictions().write(&draft.join(PREDICTIONS)).unwrap();
        self.place().finish(out).unwrap()
    }
}
