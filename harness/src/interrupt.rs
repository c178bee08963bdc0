//! What stops a command before its end: SIGINT, SIGTERM, SIGUSR1 (a scheduler's warning before its limit), and the time that
//! `--time-limit` gives it. The run in progress writes a checkpoint at its next step and the program ends with the line that
//! goes on. A second SIGINT or SIGTERM ends it at once, as `kill -9` would: nothing is lost then either but the steps since the last checkpoint.
//!
//! Whatever takes long asks [`check`] now and then, or [`check_before`] where it knows how long its next piece takes, as a
//! loop's [`Rounds`] do, so that the limit is kept and not only noticed. A record in the writing is never stopped.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::EXIT_AGAIN;
use crate::shell::quote_os;

/// A scheduler's warning.
#[cfg(unix)]
const WARNING: Option<i32> = Some(signal_hook::consts::SIGUSR1);
/// There is no such signal.
#[cfg(not(unix))]
const WARNING: Option<i32> = None;

/// The last signal; 0 before the first.
static CAUGHT: OnceLock<Arc<AtomicUsize>> = OnceLock::new();
/// The limit, and when it is over.
static LIMIT: OnceLock<(TimeLimit, Instant)> = OnceLock::new();
/// Whether this process has stored anything that the next one goes on from.
static PROGRESSED: AtomicBool = AtomicBool::new(false);
/// Whether one thread's failure ends the others' work.
static ENDED: AtomicBool = AtomicBool::new(false);

/// How long a command may take: `90s`, `9m`, `1h30m`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeLimit {
    text: String,
    duration: Duration,
}

impl FromStr for TimeLimit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match humantime::parse_duration(text) {
            Ok(duration) if duration.is_zero() => Err("expected a time above 0, such as 9m".to_owned()),
            Ok(duration) => Ok(Self { text: text.to_owned(), duration }),
            Err(error) => Err(format!("expected a time such as 90s, 9m or 1h30m: {error}")),
        }
    }
}

/// What stopped the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// A signal, by its number.
    Signal(u8),
    /// The time limit.
    TimeLimit,
    /// A failure in another thread, which that thread reports.
    Failure,
}

/// The command was stopped before its end, with everything stored that the same command goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    cause: Cause,
}

impl Interrupted {
    /// By SIGTERM, without one.
    #[cfg(test)]
    pub(crate) fn by_sigterm() -> Self {
        Self { cause: Cause::Signal(15) }
    }

    /// 128 and the signal's number (on Linux 130 after SIGINT, 138 after SIGUSR1, 143 after SIGTERM), [`EXIT_AGAIN`], or 1 after
    /// a failure.
    pub fn exit_code(self) -> u8 {
        match self.cause {
            Cause::Signal(signal) => 128 + signal,
            Cause::TimeLimit => EXIT_AGAIN,
            Cause::Failure => 1,
        }
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause {
            Cause::Signal(signal) if i32::from(signal) == SIGINT => f.write_str("stopped by SIGINT")?,
            Cause::Signal(signal) if Some(i32::from(signal)) == WARNING => {
                f.write_str("stopped by SIGUSR1")?
            }
            Cause::Signal(_) => f.write_str("stopped by SIGTERM")?,
            Cause::Failure => f.write_str("stopped by a failure elsewhere")?,
            Cause::TimeLimit => {
                let text = LIMIT.get().map_or("", |(limit, _)| &limit.text);
                write!(f, "stopped by --time-limit {text}")?;
                if !PROGRESSED.load(Ordering::Relaxed) {
                    f.write_str(" before anything new was stored: give it more time")?;
                }
            }
        }
        let line: Vec<String> = std::env::args_os().map(|word| quote_os(&word)).collect();
        write!(f, "; to go on: {}", line.join(" "))
    }
}

impl std::error::Error for Interrupted {}

/// From now on signals are noted instead of ending the program, until [`check`] is asked. Once is enough.
///
/// # Errors
/// Where the system refuses the handlers.
pub fn catch() -> io::Result<()> {
    let caught = Arc::default();
    if CAUGHT.set(Arc::clone(&caught)).is_err() {
        return Ok(());
    }
    let once = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order counts: the first signal arms the second one's end.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&once))?;
        flag::register(signal, Arc::clone(&once))?;
        flag::register_usize(signal, Arc::clone(&caught), signal.unsigned_abs() as usize)?;
    }
    if let Some(signal) = WARNING {
        flag::register_usize(signal, caught, signal.unsigned_abs() as usize)?;
    }
    Ok(())
}

/// Gives the process so much time from now on. The first call counts.
pub fn limit(limit: &TimeLimit) {
    // A limit beyond the clock's range is none.
    if let Some(end) = Instant::now().checked_add(limit.duration) {
        LIMIT.get_or_init(|| (limit.clone(), end));
    }
}

/// Whether the process has a time limit.
pub fn is_limited() -> bool {
    LIMIT.get().is_some()
}

/// Notes that something was stored that the next process goes on from.
pub fn progressed() {
    PROGRESSED.store(true, Ordering::Relaxed);
}

/// Ends what other threads do at their next look, for this one has failed in a way that concerns them. It holds for the
/// rest of the process.
pub fn end_others() {
    ENDED.store(true, Ordering::Relaxed);
}

/// Whether to go on.
///
/// # Errors
/// [`Interrupted`] once a signal came, the time is over, or another thread failed.
pub fn check() -> Result<(), Interrupted> {
    check_before(Duration::ZERO)
}

/// Whether to go on with something that takes so long.
///
/// # Errors
/// [`Interrupted`] once a signal came or another thread failed, or where the time would be over before that is done.
pub fn check_before(piece: Duration) -> Result<(), Interrupted> {
    let signal = CAUGHT.get().map_or(0, |caught| caught.load(Ordering::Relaxed));
    if let Ok(signal) = u8::try_from(signal)
        && signal > 0
    {
        return Err(Interrupted { cause: Cause::Signal(signal) });
    }
    match LIMIT.get() {
        Some((_, end)) if end.saturating_duration_since(Instant::now()) <= piece => {
            Err(Interrupted { cause: Cause::TimeLimit })
        }
        _ if ENDED.load(Ordering::Relaxed) => Err(Interrupted { cause: Cause::Failure }),
        _ => Ok(()),
    }
}

/// For a loop whose rounds are alike: stops it before a round that, if it takes as long as the longest so far, would not end
/// within the time limit ([`check_before`]).
pub struct Rounds {
    begun: Instant,
    longest: Duration,
}

impl Rounds {
    /// Before the first round.
    #[expect(clippy::new_without_default, reason = "it is a moment in time")]
    pub fn new() -> Self {
        Self { begun: Instant::now(), longest: Duration::ZERO }
    }

    /// Whether to begin another round; the one before it is over.
    ///
    /// # Errors
    /// Those of [`check_before`].
    pub fn again(&mut self) -> Result<(), Interrupted> {
        self.longest = self.longest.max(self.begun.elapsed());
        self.begun = Instant::now();
        check_before(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_the_shells() {
        let code = |cause| Interrupted { cause }.exit_code();
        assert_eq!([Cause::Signal(2), Cause::Signal(15), Cause::TimeLimit].map(code), [130, 143, EXIT_AGAIN]);
    }

    #[test]
    fn limits_read_as_people_write_them() {
        let seconds = |text: &str| text.parse().map(|limit: TimeLimit| limit.duration.as_secs_f64());
        for (text, expected) in
            [("90s", 90.0), ("9m", 540.0), ("1h30m", 5400.0), ("2h", 7200.0), ("1.5h", 5400.0)]
        {
            assert_eq!(seconds(text), Ok(expected), "{text}");
        }
        for text in ["", "9", "m", "-9m", "9x", "99999999999999999999h"] {
            let message = seconds(text).unwrap_err();
            assert!(message.starts_with("expected a time such as 90s, 9m or 1h30m: "), "{message}");
        }
        assert_eq!(seconds("0s"), Err("expected a time above 0, such as 9m".to_owned()));
    }
}
