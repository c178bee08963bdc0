//! What a training run shows on standard error: a bar on a terminal, else a line an epoch; and the note from which
//! `divkd status` tells how far it is.

use std::cell::Cell;
use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressFinish, ProgressStyle};
use results::record::EpochRow;
use serde::{Deserialize, Serialize};

use crate::plan::duration;
use crate::whole_file;

/// How often a run notes how far it is, within an epoch.
const NOTE_EVERY: Duration = Duration::from_secs(5);

/// The bars of all runs in training, one below the other.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Prints a line that stays above the bars.
pub fn say(line: &str) {
    BARS.suspend(|| eprintln!("{line}"));
}

/// How far a run is, as its folder tells it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Steps that are over, of all epochs.
    pub step: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// Training images a second since this process began; 0 before the first step.
    pub images_per_s: f64,
    /// Seconds to the end at that speed; 0 before the first step.
    pub seconds_left: f64,
}

impl Progress {
    /// What the folder of a run's checkpoints tells, if anything.
    pub fn read(dir: &Path) -> Option<Self> {
        toml::from_str(&fs::read_to_string(note(dir)).ok()?).ok()
    }

    /// The epoch in progress, from 1.
    pub fn epoch(&self) -> usize {
        (self.step / self.steps.max(1) + 1).min(self.epochs)
    }
}

fn note(dir: &Path) -> PathBuf {
    dir.join(".progress.toml")
}

/// What a display is of.
pub struct Shown {
    /// Heads what is shown.
    pub label: String,
    /// The folder of the run's checkpoints.
    pub dir: PathBuf,
    /// Epochs of the run.
    pub epochs: usize,
    /// Steps of an epoch.
    pub steps: usize,
    /// Images of an epoch.
    pub images: usize,
}

/// The display of one run.
pub struct RunProgress {
    shown: Shown,
    bar: Option<ProgressBar>,
    /// When this process began to train, and how many steps were over then and are now.
    start: Instant,
    begun: usize,
    done: Cell<usize>,
    noted: Cell<Instant>,
}

impl RunProgress {
    /// Begins the display of a run, `done` of whose steps are over.
    pub fn new(shown: Shown, done: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new((shown.epochs * shown.steps) as u64)
                // However the run ends, the line of the bar is left empty.
                .with_finish(ProgressFinish::AndClear);
            let bar = BARS.add(bar);
            if let Ok(style) =
                ProgressStyle::with_template("{prefix} {bar:20} {percent:>3}%  {msg}  {eta} left")
            {
                bar.set_style(style);
            }
            bar.set_prefix(shown.label.clone());
            bar.set_position(done as u64);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        let now = Instant::now();
        let progress =
            Self { shown, bar, start: now, begun: done, done: Cell::new(done), noted: Cell::new(now) };
        progress.note();
        progress
    }

    /// One step is over.
    pub fn step(&self) {
        self.done.set(self.done.get() + 1);
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
        if self.noted.get().elapsed() > NOTE_EVERY {
            self.note();
        }
    }

    /// An epoch is over: shows its loss parts and speed.
    pub fn epoch(&self, row: &EpochRow, images_per_s: f64) {
        let message = summary(row, self.shown.epochs, images_per_s);
        match &self.bar {
            Some(bar) => bar.set_message(message),
            None => {
                let left = duration(self.progress().seconds_left);
                eprintln!("{}  {message}, {left} left", self.shown.label);
            }
        }
        self.note();
    }

    /// Ends the display with what the run achieved.
    pub fn finish(self, message: &str) {
        let took = duration(self.start.elapsed().as_secs_f64());
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        say(&format!("{}  {message}, {took}", self.shown.label));
    }

    fn progress(&self) -> Progress {
        let Shown { epochs, steps, images, .. } = self.shown;
        let (step, seconds) = (self.done.get(), self.start.elapsed().as_secs_f64());
        let here = (step - self.begun) as f64;
        let images_per_s = here * images as f64 / steps.max(1) as f64 / seconds;
        let left = (epochs * steps).saturating_sub(step) as f64;
        let seconds_left = if here > 0.0 { seconds / here * left } else { 0.0 };
        Progress { step, steps, epochs, images_per_s, seconds_left }
    }

    /// A note that cannot be written costs nothing but the note.
    fn note(&self) {
        self.noted.set(Instant::now());
        let progress = self.progress();
        let _ = whole_file::make(&note(&self.shown.dir), |draft| {
            Ok(fs::write(draft, toml::to_string(&progress)?)?)
        });
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
