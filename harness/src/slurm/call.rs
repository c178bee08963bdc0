//! Slurm's programs, found on the path.

use std::io::ErrorKind;
use std::process::Command;

/// A program of Slurm did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not installed here.
    #[error(
        "{program} is not on the path: this is no machine of a Slurm cluster; load its module or go to its login node"
    )]
    Missing {
        /// Its name.
        program: String,
    },
    /// It cannot be started.
    #[error("cannot start {program}: {problem}")]
    NotStarted {
        /// Its name.
        program: String,
        /// The system's answer.
        problem: String,
    },
    /// It said no.
    #[error("{program} refuses: {message}")]
    Refused {
        /// Its name.
        program: String,
        /// What it wrote to standard error.
        message: String,
    },
}

impl Error {
    /// Whether the program is not installed.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

/// What `program` writes to standard output.
///
/// # Errors
/// Where it is missing or fails, with its message.
pub fn call(program: &str, arguments: &[String]) -> Result<String, Error> {
    let output = Command::new(program).args(arguments).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => Error::Missing { program: program.to_owned() },
        _ => Error::NotStarted { program: program.to_owned(), problem: error.to_string() },
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    let message = if message.is_empty() { output.status.to_string() } else { message };
    Err(Error::Refused { program: program.to_owned(), message })
}

/// The largest number of tasks of an array: `MaxArraySize` of the cluster, whose default is 1001; an index is below it.
pub fn max_array_size() -> usize {
    const DEFAULT: usize = 1001;
    let config = call("scontrol", &["show".to_owned(), "config".to_owned()]).unwrap_or_default();
    let of = |line: &str| line.strip_prefix("MaxArraySize")?.split('=').nth(1)?.trim().parse().ok();
    config.lines().find_map(of).filter(|size| *size > 0).unwrap_or(DEFAULT)
}
