//! How long the pieces of a run take, so that a time limit is kept: a piece begins only where its time, and that of the
//! checkpoint after it, is still left.

use std::time::{Duration, Instant};

/// A piece of work between two looks at the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A training step, its batch included.
    Step,
    /// Predictions for so many batches of images.
    Predictions(u32),
    /// A checkpoint.
    Save,
}

/// The longest time of each kind of piece in this process. What was not measured yet takes no time: a process always gets to
/// measure it, and so gets on.
#[derive(Debug, Default)]
pub struct Pace {
    step: Option<Duration>,
    /// For one batch.
    predictions: Option<Duration>,
    save: Option<Duration>,
    /// The piece in progress, and when it began.
    begun: Option<(Piece, Instant)>,
}

impl Pace {
    /// `piece` begins at `now`, and the one before it is over.
    pub fn begin(&mut self, piece: Piece, now: Instant) {
        self.end(now);
        self.begun = Some((piece, now));
    }

    /// The piece in progress is over at `now`.
    pub fn end(&mut self, now: Instant) {
        let Some((piece, start)) = self.begun.take() else { return };
        let took = now.saturating_duration_since(start);
        let (longest, took) = match piece {
            Piece::Step => (&mut self.step, took),
            Piece::Predictions(batches) => (&mut self.predictions, took / batches.max(1)),
            Piece::Save => (&mut self.save, took),
        };
        *longest = Some(longest.map_or(took, |longest| longest.max(took)));
    }

    /// Whether a checkpoint was measured.
    pub fn knows_saving(&self) -> bool {
        self.save.is_some()
    }

    /// What must be left of the time for `piece` and a checkpoint after it: half as much again as the longest that each took.
    /// Predictions without a measurement take a step a batch, which is more than they do.
    pub fn needs(&self, piece: Piece) -> Duration {
        let time = match piece {
            Piece::Step => self.step.unwrap_or_default(),
            Piece::Predictions(batches) => self.predictions.or(self.step).unwrap_or_default() * batches,
            Piece::Save => Duration::ZERO,
        };
        (time + self.save.unwrap_or_default()) * 3 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_each_kind_counts_and_the_unknown_takes_no_time() {
        let start = Instant::now();
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        let needs = |pace: &Pace, piece| pace.needs(piece).as_millis();
        let mut pace = Pace::default();
        assert_eq!(needs(&pace, Piece::Step), 0);
        pace.begin(Piece::Step, at(0));
        // Another step begins where this one ends, at 40 ms; it takes 20.
        pace.begin(Piece::Step, at(40));
        pace.begin(Piece::Save, at(60));
        assert_eq!((needs(&pace, Piece::Step), pace.knows_saving()), (60, false));
        pace.end(at(70));
        assert!(pace.knows_saving());
        assert_eq!(needs(&pace, Piece::Step), (40 + 10) * 3 / 2);
        assert_eq!(needs(&pace, Piece::Save), 10 * 3 / 2);
        // Not measured yet: a step a batch. Then 12 ms for 4 batches.
        assert_eq!(needs(&pace, Piece::Predictions(3)), (3 * 40 + 10) * 3 / 2);
        pace.begin(Piece::Predictions(4), at(100));
        pace.end(at(112));
        // What happens between two pieces is none of them.
        pace.end(at(900));
        assert_eq!(needs(&pace, Piece::Predictions(3)), (3 * 3 + 10) * 3 / 2);
    }
}
