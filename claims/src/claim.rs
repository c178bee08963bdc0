//! One process a piece of work: a claim is a file that only one process can create.
//!
//! A folder holds numbered claims; the highest counts. A claim is taken by creating the next number, which fails where
//! it exists. Its text says who the holder is; its holder touches it every few seconds. A holder is dead where this system
//! has no such process, or, where this cannot be told, where the claim was not touched for [`STALE`]: then the next number
//! is created. Released claims are removed, lowest first, so that who meant to follow a claim that is gone finds that out.
//!
//! On NFS three things hold, and no more is relied on: an exclusive creation is decided by the server; a rename is one step;
//! a file that is opened shows its newest text and times (close-to-open), while the listing of a folder and the absence of a
//! name may be a minute old. So who takes a dead holder's place also puts its own text over the dead claim: a holder that
//! comes back opens its own file and finds out at once, whatever its machine remembers of the folder. Ages are measured
//! by the reader's clock between changes that it saw, so that clocks need not agree.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::owner::Owner;
use crate::{Error, Result};

/// How often a holder touches its claim.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A claim of another machine that was not touched for this long has lost its holder.
pub const STALE: Duration = Duration::from_secs(180);
/// How long to wait before looking again where another process was quicker, or this machine's view of the folder is old.
const AGAIN: Duration = Duration::from_millis(5);
/// How often a folder that is neither there nor can be made is tried.
const REFUSALS: u32 = 100;

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
    /// [`Error::Io`] where the folder cannot be read or written.
    pub fn take(&mut self, dir: &Path) -> Result<Attempt> {
        self.attempt(dir).map_err(|source| Error::Io { dir: dir.to_owned(), source })
    }

    /// As [`take`](Self::take), for a caller that tries only once: where the holder's file was last touched more than [`STALE`] ago,
    /// it watches the file for as long again, until the holder is heard of or its claim can be taken.
    ///
    /// # Errors
    /// Those of [`take`](Self::take).
    pub fn take_from_the_silent(&mut self, dir: &Path) -> Result<Attempt> {
        // By then a claim that is not touched has been followed: its holder's clock is behind.
        let enough = self.stale * 2;
        let begun = Instant::now();
        loop {
            let attempt = self.take(dir)?;
            let is_silent = || -> Result<bool> {
                Ok(holder(dir)?.is_some_and(|holder| !holder.is_alive_within(self.stale)))
            };
            if matches!(attempt, Attempt::Taken(_)) || begun.elapsed() > enough || !is_silent()? {
                return Ok(attempt);
            }
            std::thread::sleep((self.stale / 100).min(HEARTBEAT));
        }
    }

    fn attempt(&mut self, dir: &Path) -> io::Result<Attempt> {
        let mut refusals = 0;
        loop {
            match fs::create_dir_all(dir) {
                // Made by another process, and removed again; or a link that leads nowhere, which stays.
                Err(error)
                    if error.kind() == ErrorKind::AlreadyExists && !dir.is_file() && refusals < REFUSALS =>
                {
                    refusals += 1;
                    std::thread::sleep(AGAIN);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let text = "what is there is no folder, or a link that leads nowhere";
                    return Err(io::Error::new(error.kind(), text));
                }
                made => made?,
            }
            let newest = newest(dir)?;
            let mut dead = None;
            if let Some(number) = newest {
                let path = path(dir, number);
                let Some((text, touched)) = unless_gone(read(&path))? else {
                    // Released since, or listed by a server that does not know it yet.
                    std::thread::sleep(AGAIN);
                    continue;
                };
                match self.holder(&path, &text, touched) {
                    Some(holder) => return Ok(Attempt::Held(holder)),
                    None => dead = Some((path, text)),
                }
            }
            let number = newest.unwrap_or(0) + 1;
            let text = toml::to_string(&Owner::this()).map_err(io::Error::other)?;
            match create(&path(dir, number), &text) {
                Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
                    std::thread::sleep(AGAIN);
                    continue;
                }
                created => created?,
            }
            let mut claim = Claim::new(dir.to_owned(), number, text)?;
            // Whoever released or took over in between has removed or replaced the dead claim, or made a higher one.
            let follows = match &dead {
                Some((path, text)) => unless_gone(fs::read(path))?.as_ref() == Some(text),
                None => true,
            };
            if follows && claim.is_held()? {
                claim.lowest = 1;
                if let Some((path, _)) = dead {
                    // Where it cannot be written the higher number still counts.
                    let _ = replace(&path, &claim.text);
                }
                return Ok(Attempt::Taken(claim));
            }
        }
    }

    /// Who holds the claim, unless the holder is dead.
    fn holder(&mut self, path: &Path, text: &[u8], touched: SystemTime) -> Option<String> {
        // A claim that is not whole yet is judged by its time alone.
        let owner = Owner::parse(text);
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
    /// Of the claim's file, which is there; it is removed where there is no thread to touch it.
    fn new(dir: PathBuf, number: u32, text: String) -> io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let file = path(&dir, number);
        let heart = std::thread::Builder::new().name("claim".to_owned()).spawn(move || {
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                // A claim that cannot be touched becomes stale, which its holder finds out before it writes.
                let _ =
                    File::options().append(true).open(&file).and_then(|f| f.set_modified(SystemTime::now()));
            }
        });
        let heart = heart.inspect_err(|_| {
            let _ = fs::remove_file(path(&dir, number));
        })?;
        Ok(Self { dir, number, lowest: number, text, stop: Some(stop), heart: Some(heart) })
    }

    /// Makes sure that no other process took this one for dead.
    ///
    /// # Errors
    /// [`Error::TakenOver`] where one did, [`Error::Io`] where the folder cannot be read.
    pub fn verify(&self) -> Result<()> {
        let held = || self.is_held().map_err(|source| Error::Io { dir: self.dir.clone(), source });
        // Another process may be about to withdraw a claim that it made too late.
        let held = held()? || {
            std::thread::sleep(Duration::from_secs(1));
            held()?
        };
        if held { Ok(()) } else { Err(Error::TakenOver { dir: self.dir.clone() }) }
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

/// What a claim says of its holder, to be shown.
#[derive(Clone, Debug)]
pub struct Holder {
    /// Who, where the claim is whole.
    pub owner: Option<Owner>,
    /// How long ago the claim was touched, by the clocks of this machine and of the file system.
    pub silent: Duration,
}

impl Holder {
    /// Whether the holder still works, as far as one look can tell.
    pub fn is_alive(&self) -> bool {
        self.is_alive_within(STALE)
    }

    fn is_alive_within(&self, stale: Duration) -> bool {
        self.owner.as_ref().and_then(Owner::is_alive).unwrap_or(self.silent < stale)
    }
}

/// Who has the claim in the folder `dir`, dead or alive. Changes nothing.
///
/// # Errors
/// [`Error::Io`] where the folder is there and cannot be read.
pub fn holder(dir: &Path) -> Result<Option<Holder>> {
    let look = || {
        let Some(number) = newest(dir)? else { return Ok(None) };
        let Some((text, touched)) = unless_gone(read(&path(dir, number)))? else { return Ok(None) };
        let silent = SystemTime::now().duration_since(touched).unwrap_or_default();
        Ok(Some(Holder { owner: Owner::parse(&text), silent }))
    };
    look().map_err(|source| Error::Io { dir: dir.to_owned(), source })
}

fn path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{number:06}.toml"))
}

/// The numbers of the claims, ascending.
fn numbers(dir: &Path) -> io::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".toml")?.parse::<u32>().ok());
        // What is spelled otherwise is nobody's claim, nor is one that could have no successor.
        let is_claim = |number: &u32| *number < u32::MAX && path(dir, *number).file_name() == Some(&name);
        numbers.extend(number.filter(is_claim));
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

/// Puts `text` in the place of a claim's, in one step.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("next");
    fs::write(&draft, text)?;
    fs::rename(&draft, path)
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
