//! The two logs of a run: a CSV line an epoch, numbers in the shortest form that reads back to the same `f64`.

use std::fs;
use std::path::Path;

use csv::{Reader, WriterBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// An epoch of training in `metrics.csv`. No wall times: equal runs write equal bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRow {
    /// The epoch, from 1.
    pub epoch: u32,
    /// The learning rate (of the slow weights) of the epoch's last step.
    pub lr: f64,
    /// The training loss, averaged over the epoch's examples.
    pub loss: f64,
    /// Its cross-entropy part, where the method has parts.
    pub ce: Option<f64>,
    /// Its distillation part, where the method has one.
    pub kd: Option<f64>,
    /// Accuracy on the training batches, a fraction.
    pub train_acc: f64,
    /// Accuracy on the validation split, a fraction, where the epoch validated.
    pub val_acc: Option<f64>,
    /// Negative log-likelihood on the validation split, nats, where the epoch validated.
    pub val_nll: Option<f64>,
}

impl EpochRow {
    /// The epoch whose network a run keeps: that of the highest validation accuracy, the first of equals; none where no epoch
    /// validated.
    pub fn kept(epochs: &[Self]) -> Option<&Self> {
        let better = |best: Option<&'_ Self>, epoch: &Self| {
            epoch.val_acc.is_some_and(|acc| best.and_then(|best| best.val_acc).is_none_or(|own| acc > own))
        };
        epochs.iter().fold(None, |best, epoch| if better(best, epoch) { Some(epoch) } else { best })
    }
}

/// An epoch's wall time in `timing.csv`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TimingRow {
    /// The epoch, from 1.
    pub epoch: u32,
    /// How long it took, seconds.
    pub seconds: f64,
    /// Training images a second.
    pub images_per_s: f64,
}

/// A line of a log: written as the run goes, read back to draw curves. An absent value is an empty cell.
pub trait LogRow: Serialize + DeserializeOwned {
    /// The names of the columns, in order.
    const COLUMNS: &'static [&'static str];

    /// Writes the log at `path` anew, with its header, in one piece.
    ///
    /// # Errors
    /// Where the file cannot be written.
    fn write_all(rows: &[Self], path: &Path) -> Result<()> {
        let mut lines = WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        lines.write_record(Self::COLUMNS).map_err(csv_error(path))?;
        for row in rows {
            lines.serialize(row).map_err(csv_error(path))?;
        }
        let text = lines.into_inner().map_err(csv::IntoInnerError::into_error);
        text.and_then(|text| fs::write(path, text)).map_err(Error::io("write", path))
    }

    /// Reads the log at `path`.
    ///
    /// # Errors
    /// Where the file cannot be read, its header is another, or a cell does not hold a number of its column's kind.
    fn read_all(path: &Path) -> Result<Vec<Self>> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let mut reader = Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(csv_error(path))?;
        if header != Self::COLUMNS {
            return Err(Error::Header {
                path: path.to_owned(),
                expected: Self::COLUMNS.join(","),
                found: header.iter().collect::<Vec<_>>().join(","),
            });
        }
        reader.deserialize().collect::<std::result::Result<_, _>>().map_err(csv_error(path))
    }
}

impl LogRow for EpochRow {
    const COLUMNS: &'static [&'static str] =
        &["epoch", "lr", "loss", "ce", "kd", "train_acc", "val_acc", "val_nll"];
}

impl LogRow for TimingRow {
    const COLUMNS: &'static [&'static str] = &["epoch", "seconds", "images_per_s"];
}

fn csv_error(path: &Path) -> impl Fn(csv::Error) -> Error {
    move |source| Error::Csv { path: path.to_owned(), source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_best_validated_epochs_is_kept() {
        let epoch = |epoch, train_acc, val_acc| EpochRow {
            epoch,
            lr: 0.1,
            loss: 1.0,
            ce: None,
            kd: None,
            train_acc,
            val_acc,
            val_nll: None,
        };
        let epochs = [
            epoch(1, 0.2, Some(0.3)),
            epoch(2, 0.9, None),
            epoch(3, 0.8, Some(0.7)),
            epoch(4, 0.95, Some(0.7)),
            epoch(5, 1.0, Some(0.6)),
        ];
        assert_eq!(EpochRow::kept(&epochs).map(|epoch| epoch.epoch), Some(3));
        assert_eq!(EpochRow::kept(&epochs[1..2]), None);
        assert_eq!(EpochRow::kept(&[]), None);
    }
}
