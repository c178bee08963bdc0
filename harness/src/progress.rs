//! What a training run shows on standard error: a bar on a terminal, else a line an epoch.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};
use results::record::EpochRow;

use crate::plan::duration;

/// The display of one run.
pub struct RunProgress {
    label: String,
    bar: Option<ProgressBar>,
    epochs: usize,
    /// When this process began to train, and how many epochs were already done then.
    start: Instant,
    done_before: usize,
}

impl RunProgress {
    /// Begins the display of the run `label`, of `epochs` epochs of `steps` steps, of which `done` are over.
    pub fn new(label: String, epochs: usize, steps: usize, done: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr();
            let bar = ProgressBar::with_draw_target(Some((epochs * steps) as u64), target)
                // However the run ends, the line of the bar is left empty.
                .with_finish(ProgressFinish::AndClear);
            if let Ok(style) =
                ProgressStyle::with_template("{prefix} {bar:20} {percent:>3}%  {msg}  {eta} left")
            {
                bar.set_style(style);
            }
            bar.set_prefix(label.clone());
            bar.set_position((done * steps) as u64);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        Self { label, bar, epochs, start: Instant::now(), done_before: done }
    }

    /// One step is over.
    pub fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// An epoch is over: shows its loss parts and speed.
    pub fn epoch(&self, row: &EpochRow, images_per_s: f64) {
        let message = summary(row, self.epochs, images_per_s);
        match &self.bar {
            Some(bar) => bar.set_message(message),
            None => eprintln!(
                "{}  {message}, {} left",
                self.label,
                duration(self.seconds_left(row.epoch as usize))
            ),
        }
    }

    /// Prints a line that stays.
    pub fn line(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{line}")),
            None => eprintln!("{line}"),
        }
    }

    /// Ends the display with what the run achieved.
    pub fn finish(self, message: &str) {
        let took = duration(self.start.elapsed().as_secs_f64());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{}  {message}, {took}", self.label);
    }

    fn seconds_left(&self, epoch: usize) -> f64 {
        let here = epoch.saturating_sub(self.done_before).max(1);
        self.start.elapsed().as_secs_f64() / here as f64 * self.epochs.saturating_sub(epoch) as f64
    }
}

/// `epoch 2/3  loss 1.234 (ce 2.100, kd 0.310)  train .41  val .40  1234 images/s`
fn summary(row: &EpochRow, epochs: usize, images_per_s: f64) -> String {
    let parts: Vec<String> = [("ce", row.ce), ("kd", row.kd)]
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name} {:.3}", value?)))
        .collect();
    let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    let val = row.val_acc.map(|acc| format!("  val {acc:.3}")).unwrap_or_default();
    format!(
        "epoch {}/{epochs}  loss {:.3}{parts}  train {:.3}{val}  {images_per_s:.0} images/s",
        row.epoch, row.loss, row.train_acc
    )
}
