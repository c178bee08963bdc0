//! One process a run: a claim is a file that only one process can create.
//!
//! A folder holds numbered claims; the highest counts. A claim is taken by creating the next number, which fails where
//! it exists (also on network file systems, where locks often do not hold). Its text says who the holder is; its
//! holder touches it every few seconds. A holder is dead where this system has no such process, or, where this cannot be
//! told, where the claim was not touched for `STALE`: then the next number is created. Released claims are removed,
//! lowest first, so that who meant to follow a claim that is gone finds that out.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, ensure};

use super::owner::Owner;

/// How often a holder touches its claim.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A claim of another machine that was not touched for this long has lost its holder.
const STALE: Duration = Duration::from_secs(180);

/// What trying to take a claim comes to.
pub enum Attempt {
    /// It is this process's.
    Taken(Claim),
    /// Another process has it: who.
    Held(String),
}

/// Takes claims, and remembers when it saw others' touched.
pub struct Claims {
    stale: Duration,
    seen: BTreeMap<PathBuf, (SystemTime, Instant)>,
}

impl Default for Claims {
    fn default() -> Self {
        Self { stale: STALE, seen: BTreeMap::new() }
    }
}

impl Claims {
    /// Tries to take the claim in the folder `dir`, which is made where it is missing. Never waits for its holder.
    ///
    /// # Errors
    /// Where the folder cannot be read or written.
    pub fn take(&mut self, dir: &Path) -> anyhow::Result<Attempt> {
        let what = || {
            format!(
                "cannot claim {}; make the folder writable and leave it some space, or name another --out",
                dir.display()
            )
        };
        loop {
            fs::create_dir_all(dir).with_context(what)?;
            let newest = newest(dir).with_context(what)?;
            let mut dead = None;
            if let Some(number) = newest {
                let path = path(dir, number);
                let Some((text, touched)) = unless_gone(read(&path)).with_context(what)? else { continue };
                match self.holder(&path, &text, touched) {
                    Some(holder) => return Ok(Attempt::Held(holder)),
                    None => dead = Some((path, text)),
                }
            }
            let number = newest.unwrap_or(0) + 1;
            let mine = path(dir, number);
            let text = toml::to_string(&Owner::this())?;
            match create(&mine, &text) {
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
                    continue;
                }
                created => created.with_context(what)?,
            }
            let mut claim = Claim::new(dir.to_owned(), number, text);
            // Whoever released or took over in between has removed the dead claim or made a higher one.
            let follows = match dead {
                Some((path, text)) => unless_gone(fs::read(path)).with_context(what)? == Some(text),
                None => true,
            };
            if follows && claim.is_held().with_context(what)? {
                claim.lowest = 1;
                return Ok(Attempt::Taken(claim));
            }
        }
    }

    /// Who holds the claim, unless the holder is dead.
    fn holder(&mut self, path: &Path, text: &[u8], touched: SystemTime) -> Option<String> {
        // A claim that is not whole yet is judged by its time alone.
        let owner: Option<Owner> = str::from_utf8(text).ok().and_then(|text| toml::from_str(text).ok());
        let name = || owner.as_ref().map_or_else(|| "another process".to_owned(), ToString::to_string);
        match owner.as_ref().and_then(Owner::is_alive) {
            Some(true) => Some(name()),
            Some(false) => None,
            None => {
                let now = Instant::now();
                let seen = self.seen.entry(path.to_owned()).or_insert((touched, now));
                if seen.0 != touched {
                    *seen = (touched, now);
                }
                (seen.1.elapsed() < self.stale).then(name)
            }
        }
    }
}

/// A claim of this process; released when dropped.
pub struct Claim {
    dir: PathBuf,
    number: u32,
    /// The lowest number that goes with it: its own until it is known to count, then those of the dead before it.
    lowest: u32,
    text: String,
    /// Ends the heartbeat when it is dropped.
    stop: Option<mpsc::Sender<()>>,
    heart: Option<JoinHandle<()>>,
}

impl Claim {
    fn new(dir: PathBuf, number: u32, text: String) -> Self {
        let (stop, stopped) = mpsc::channel();
        let file = path(&dir, number);
        let heart = std::thread::spawn(move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                // A claim that cannot be touched becomes stale, which its holder finds out before it writes.
                let _ =
                    File::options().append(true).open(&file).and_then(|f| f.set_modified(SystemTime::now()));
            }
        });
        Self { dir, number, lowest: number, text, stop: Some(stop), heart: Some(heart) }
    }

    /// Makes sure that no other process took this one for dead.
    ///
    /// # Errors
    /// Where one did, or the folder cannot be read.
    pub fn verify(&self) -> anyhow::Result<()> {
        let held = || self.is_held().with_context(|| format!("cannot read {}", self.dir.display()));
        // Another process may be about to withdraw a claim that it made too late.
        let held = held()? || {
            std::thread::sleep(Duration::from_secs(1));
            held()?
        };
        ensure!(
            held,
            "another process took over {} while this one did not answer: this one stops",
            self.dir.display()
        );
        Ok(())
    }

    fn is_held(&self) -> io::Result<bool> {
        let text = unless_gone(fs::read(path(&self.dir, self.number)))?;
        let newest = unless_gone(newest(&self.dir))?.flatten();
        Ok(newest == Some(self.number) && text.as_deref() == Some(self.text.as_bytes()))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(heart) = self.heart.take() {
            let _ = heart.join();
        }
        // What cannot be removed is taken over from a dead process later.
        let Ok(Some(text)) = unless_gone(fs::read(path(&self.dir, self.number))) else { return };
        if text != self.text.as_bytes() {
            return;
        }
        for number in numbers(&self.dir).unwrap_or_default() {
            let goes = (self.lowest..=self.number).contains(&number);
            if goes && fs::remove_file(path(&self.dir, number)).is_err() {
                return;
            }
        }
        let _ = fs::remove_dir(&self.dir);
    }
}

fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:06}.toml"))
}

/// The numbers of the claims, ascending.
fn numbers(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        numbers.extend(name.to_str().and_then(|name| name.strip_suffix(".toml")?.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

fn newest(dir: &Path) -> io::Result<Option<u32>> {
    Ok(unless_gone(numbers(dir))?.unwrap_or_default().pop())
}

/// Text and time of a claim.
fn read(path: &Path) -> io::Result<(Vec<u8>, SystemTime)> {
    let mut file = File::open(path)?;
    let mut text = Vec::new();
    io::Read::read_to_end(&mut file, &mut text)?;
    Ok((text, file.metadata()?.modified()?))
}

fn create(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).inspect_err(|_| {
        // A full disk: half a claim helps nobody.
        let _ = fs::remove_file(path);
    })
}

/// `None` where there is no such file.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
