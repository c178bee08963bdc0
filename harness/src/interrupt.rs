//! SIGINT and SIGTERM while runs train: the run in progress writes a checkpoint at its next step and the program ends with
//! the line that goes on. A second signal ends it at once, as `kill -9` would: nothing is lost then either but the steps
//! since the last checkpoint.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The last signal; 0 before the first.
static CAUGHT: OnceLock<Arc<AtomicUsize>> = OnceLock::new();

/// A signal ended the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted {
    /// Its number.
    signal: u8,
}

impl Interrupted {
    /// 128 and the signal's number: 130 after SIGINT, 143 after SIGTERM.
    pub fn exit_code(self) -> u8 {
        128 + self.signal
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if i32::from(self.signal) == SIGINT { "SIGINT" } else { "SIGTERM" };
        write!(f, "stopped by {name}; to go on: {}", command_line(std::env::args()))
    }
}

impl std::error::Error for Interrupted {}

/// From now on signals are noted instead of ending the program, until [`check`] is asked.
///
/// # Errors
/// Where the system refuses the handlers.
pub fn catch() -> io::Result<()> {
    let caught = Arc::clone(CAUGHT.get_or_init(Arc::default));
    let once = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The order counts: the first signal arms the second one's end.
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&once))?;
        flag::register(signal, Arc::clone(&once))?;
        flag::register_usize(signal, Arc::clone(&caught), signal.unsigned_abs() as usize)?;
    }
    Ok(())
}

/// Whether to go on.
///
/// # Errors
/// [`Interrupted`] once a signal came.
pub fn check() -> Result<(), Interrupted> {
    let signal = CAUGHT.get().map_or(0, |caught| caught.load(Ordering::Relaxed));
    match u8::try_from(signal) {
        Ok(signal) if signal > 0 => Err(Interrupted { signal }),
        _ => Ok(()),
    }
}

/// Arguments as a shell takes them.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+@%".contains(c);
    let quote = |text: String| {
        if !text.is_empty() && text.chars().all(plain) {
            text
        } else {
            format!("'{}'", text.replace('\'', r"'\''"))
        }
    };
    arguments.map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_one_that_a_shell_reads_back() {
        let arguments = ["divkd", "--set", "teacher.schedule.milestones=[1, 2]", "it's", ""];
        let line = command_line(arguments.iter().map(ToString::to_string));
        assert_eq!(line, r"divkd --set 'teacher.schedule.milestones=[1, 2]' 'it'\''s' ''");
    }

    #[test]
    fn exit_codes_are_the_shells() {
        assert_eq!(Interrupted { signal: 2 }.exit_code(), 130);
        assert_eq!(Interrupted { signal: 15 }.exit_code(), 143);
    }
}
