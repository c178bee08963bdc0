//! The process that holds a claim: who it is, and whether it is still there.

use std::fmt;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What a claim says about its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The machine's name, for people.
    pub host: String,
    /// Where `pid` means something: the boot and the namespace of processes; empty where the system does not tell.
    system: String,
    /// The process.
    pub pid: u32,
    /// When the process began, in the system's ticks: process numbers are used again.
    started: u64,
    /// The scheduler's job that it belongs to, such as `123` or `123_4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// When the claim was made, in seconds since 1970.
    #[serde(default)]
    pub since: u64,
    /// No two claims have the same.
    nonce: u64,
}

impl Owner {
    /// This process.
    pub(crate) fn this() -> Self {
        let pid = std::process::id();
        Self {
            host: line("/proc/sys/kernel/hostname").unwrap_or_else(|| "unknown host".to_owned()),
            system: system().unwrap_or_default(),
            pid,
            started: started(pid).unwrap_or(0),
            job: job(),
            since: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            // Keyed anew for every claim. Read back from TOML, whose integers are signed.
            nonce: RandomState::new().hash_one(pid) >> 1,
        }
    }

    /// What a claim's text says, where it is whole.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        toml::from_str(str::from_utf8(text).ok()?).ok()
    }

    /// Whether the process lives, where this can be told from here: on the same system, if it shows the processes of others.
    pub(crate) fn is_alive(&self) -> Option<bool> {
        if system()? != self.system {
            return None;
        }
        match started(self.pid) {
            Some(started) => Some(started == self.started),
            None => sees_others().then_some(false),
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} on {}", self.pid, self.host)?;
        self.job.as_ref().map_or(Ok(()), |job| write!(f, " (job {job})"))
    }
}

/// The Slurm job that this process belongs to: `<array>_<task>` in an array, else its number. The same after a requeue.
pub fn job() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let task = || Some(format!("{}_{}", variable("SLURM_ARRAY_JOB_ID")?, variable("SLURM_ARRAY_TASK_ID")?));
    task().or_else(|| variable("SLURM_JOB_ID"))
}

fn line(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn system() -> Option<String> {
    let boot = line("/proc/sys/kernel/random/boot_id")?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(format!("{boot} {}", namespace.display()))
}

/// Whether this system shows other users' processes: mounted with `hidepid`, `/proc` does not.
fn sees_others() -> bool {
    fs::read("/proc/1/stat").is_ok()
}

/// When a live process began; a zombie is none. Fields 3 (state) and 22 (start time) of `/proc/<pid>/stat`, counted from
/// the name's closing parenthesis.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

// Elsewhere nothing is told about processes.
#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_lives_until_it_ends_and_its_number_is_not_enough() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let of = |pid| Owner { pid, started: started(pid).unwrap(), ..Owner::this() };
        let owner = of(child.id());
        assert_eq!(owner.is_alive(), Some(true));
        assert_eq!(Owner { started: owner.started + 1, ..owner.clone() }.is_alive(), Some(false));
        assert_eq!(Owner { system: "another".to_owned(), ..owner.clone() }.is_alive(), None);
        child.kill().unwrap();
        // A zombie until it is waited for.
        while owner.is_alive() == Some(true) {
            std::thread::yield_now();
        }
        child.wait().unwrap();
        assert_eq!(owner.is_alive(), Some(false));
        assert_ne!(Owner::this().nonce, Owner::this().nonce);
    }
}
