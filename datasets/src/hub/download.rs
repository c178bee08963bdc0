//! One file from the server into its `.part` file: attempts, waits, continuation by ranged reads, checks.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use futures_util::StreamExt;

use super::cache::{Place, create_parent};
use super::failure::Failure;
use super::{Hub, RemoteFile, Unfit, check};
use crate::verify::HashCheck;
use crate::{Error, Progress, Result};

/// The longest body that is accepted where the length is not known beforehand.
const MAX_BYTES: u64 = 1 << 30;

/// A failure of one attempt, or an error of our own disk, which no further attempt mends.
enum Stop {
    Attempt(Failure),
    Disk(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Stop::Disk(error)
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Attempt(failure)
    }
}

impl Hub {
    /// Downloads until the `.part` file is whole and right. Returns its hash and what that was compared with.
    pub(super) fn download(&self, place: &Place, file: &RemoteFile) -> Result<(String, HashCheck)> {
        let partial = place.partial();
        create_parent(&partial)?;
        let mut total = file.bytes;
        if total.is_none() {
            // Left by an earlier process; without a length one cannot tell whether it is still the same file.
            discard(&partial)?;
        }
        let attempts = self.options.attempts.max(1);
        let mut wait = self.options.first_wait;
        let mut rejected = 0;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let failure = match self.block_on(async || self.attempt(&partial, file, &mut total).await) {
                Err(Stop::Disk(error)) => return Err(error),
                Err(Stop::Attempt(failure)) => failure,
                Ok(()) => match check(place, file, &partial) {
                    Ok(checked) => return Ok(checked),
                    Err(Unfit::Failed(error)) => return Err(error),
                    Err(Unfit::Differs { expected, found }) => {
                        discard(&partial)?;
                        total = file.bytes;
                        rejected += 1;
                        let problem = format!("expected {expected}, received {found}");
                        // Once may be the transfer; twice is what the server has.
                        Failure::wrong_bytes(problem, rejected < 2)
                    }
                },
            };
            if !failure.retry || attempt >= attempts {
                return Err(failure.into_error(file, self.client.endpoint(), attempt));
            }
            let pause = failure.wait.unwrap_or(wait);
            self.note(&format!("{}: {}; trying again in {:.0?}", file.path, failure.problem, pause));
            std::thread::sleep(pause);
            wait *= 2;
        }
    }

    /// One request, from where the `.part` file ends.
    async fn attempt(
        &self,
        partial: &Path,
        file: &RemoteFile,
        total: &mut Option<u64>,
    ) -> std::result::Result<(), Stop> {
        let mut out =
            OpenOptions::new().create(true).append(true).open(partial).map_err(Error::io("open", partial))?;
        let mut done = out.metadata().map_err(Error::io("open", partial))?.len();
        let range = match *total {
            Some(total) if done == total => return Ok(()),
            Some(total) if 0 < done && done < total => Some(done..total),
            _ => {
                truncate(&out, partial)?;
                done = 0;
                None
            }
        };
        let continued = range.is_some();
        let (owner, name) = hf_hub::split_id(&file.repo);
        let repository = self.client.dataset(owner, name);
        let request = repository.download_file_stream().filename(&file.path).revision(&file.revision);
        let (declared, mut body) = match request.maybe_range(range).send().await {
            Ok(answer) => answer,
            Err(error) => {
                let mut failure = Failure::from_client(error);
                if continued && !failure.retry {
                    // The server may refuse this range only (416): begin again.
                    truncate(&out, partial)?;
                    failure.retry = true;
                }
                return Err(failure.into());
            }
        };
        if !continued {
            *total = total.or(declared);
        }
        let limit = total.unwrap_or(MAX_BYTES);
        if limit > MAX_BYTES {
            let problem = format!("the server declares {limit} bytes, more than any of the data sets' files");
            return Err(Failure::wrong_bytes(problem, false).into());
        }
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(Failure::from_client)?;
            if done + piece.len() as u64 > limit {
                truncate(&out, partial)?;
                let problem = format!("more bytes than expected ({limit})");
                return Err(Failure::wrong_bytes(problem, true).into());
            }
            out.write_all(&piece).map_err(Error::io("write", partial))?;
            done += piece.len() as u64;
            if let Some(progress) = &self.progress {
                progress.report(&Progress::Download { file: &file.path, done, total: *total });
            }
        }
        out.sync_all().map_err(Error::io("write", partial))?;
        if let Some(total) = total.filter(|&total| done < total) {
            return Err(Failure::passing(format!("the body ended after {done} of {total} bytes")).into());
        }
        Ok(())
    }
}

fn truncate(file: &File, path: &Path) -> Result<()> {
    file.set_len(0).map_err(Error::io("truncate", path))
}

fn discard(partial: &Path) -> Result<()> {
    match std::fs::remove_file(partial) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", partial)(e)),
        _ => Ok(()),
    }
}
