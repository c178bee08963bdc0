//! When a run in training is stored, and when it stops: a checkpoint after each epoch, within long ones, and where a signal or the
//! end of the time stops it.

use std::time::{Duration, Instant};

use claims::Claim;

use super::checkpoint::Checkpoints;
use super::pace::{Pace, Piece};
use super::training::Training;
use crate::interrupt::{self, Interrupted};

/// Epochs that take longer are checkpointed within, this often.
pub(crate) const CHECKPOINT_EVERY: Duration = Duration::from_secs(600);

/// The checkpoints of one run, written as long as the process has the run's claim.
pub(super) struct Saver<'a> {
    claim: &'a Claim,
    checkpoints: &'a Checkpoints,
    pace: Pace,
    saved: Instant,
}

impl<'a> Saver<'a> {
    /// Before the first step of this process.
    pub(super) fn new(claim: &'a Claim, checkpoints: &'a Checkpoints) -> Self {
        Self { claim, checkpoints, pace: Pace::default(), saved: Instant::now() }
    }

    /// Before each piece of an epoch: writes a checkpoint where one is due, or the run has to stop.
    ///
    /// # Errors
    /// [`Interrupted`], where it has to; those of [`Saver::save`].
    pub(super) fn before(&mut self, piece: Piece, training: &Training) -> anyhow::Result<()> {
        self.pace.end(Instant::now());
        // A limit can be kept once it is known how long a checkpoint takes.
        let is_due =
            self.saved.elapsed() > CHECKPOINT_EVERY || interrupt::is_limited() && !self.pace.knows_saving();
        let time = self.has_time_for(piece);
        if (time.is_err() || is_due) && !training.tally.is_empty() {
            self.save(training)?;
        }
        time?;
        self.pace.begin(piece, Instant::now());
        Ok(())
    }

    /// Whether there is time for `piece` and a checkpoint after it, and no signal.
    ///
    /// # Errors
    /// [`Interrupted`], where there is not.
    pub(super) fn has_time_for(&self, piece: Piece) -> Result<(), Interrupted> {
        interrupt::check_before(self.pace.needs(piece))
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// A claim that another process took over; failures of the disk.
    pub(super) fn save(&mut self, training: &Training) -> anyhow::Result<()> {
        self.pace.begin(Piece::Save, Instant::now());
        self.claim.verify()?;
        self.checkpoints.save(training)?;
        self.pace.end(Instant::now());
        self.saved = Instant::now();
        interrupt::progressed();
        Ok(())
    }

    /// Has `write` write the run's record, after which checkpoints are of no use.
    ///
    /// # Errors
    /// A claim that another process took over; those of `write`; checkpoints that cannot be removed.
    pub(super) fn end(&self, write: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
        self.claim.verify()?;
        write()?;
        interrupt::progressed();
        self.checkpoints.remove()
    }
}
