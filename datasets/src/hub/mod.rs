//! Files of the Hugging Face hub, through the `hf-hub` crate, in the cache that other tools share.
//!
//! `hf-hub` 1.0.0 finds cached files and speaks to the server; length and hash are checked here, because its own
//! `download_file` stores whatever arrives (an error page, a cut body) and confirms it later. So a download streams into a
//! `.part` file beside the cache, continues there after an interruption, and enters the cache only when it is whole and right: a
//! cached file is never one that was not checked. Cached files are hashed again at every use.
//!
//! `HF_ENDPOINT`, `HF_HOME`, `HF_HUB_CACHE`, `HF_TOKEN` and `HF_HUB_OFFLINE` are honoured; [`Options`] overrides them. Messages
//! never hold a token, a header, a query string or text that a server sent.

mod cache;
mod download;
mod failure;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hf_hub::{HFClient, HFError};

use crate::fetch::Fetched;
use crate::verify::HashCheck;
use crate::{Error, OnProgress, Progress, Result, hash, image_table};

/// How the hub is reached. The default follows the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Base URL; where none, `HF_ENDPOINT`, else the public hub.
    pub endpoint: Option<String>,
    /// Cache folder; where none, `HF_HUB_CACHE`, else `HF_HOME`/hub, else the user's cache folder.
    pub cache: Option<PathBuf>,
    /// Whether the network must not be used; where none, `HF_HUB_OFFLINE` says so (1, on, yes or true).
    pub offline: Option<bool>,
    /// Times a file is tried before giving up, at least 1.
    pub attempts: u32,
    /// Wait before the second attempt; doubled before each further one.
    pub first_wait: Duration,
    /// The longest time without a byte from the server.
    pub read_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoint: None,
            cache: None,
            offline: None,
            attempts: 5,
            first_wait: Duration::from_secs(1),
            read_timeout: Duration::from_secs(60),
        }
    }
}

/// A file of a data set repository at a pinned revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Repository id, `owner/name`.
    pub repo: String,
    /// Commit, 40 hexadecimal digits.
    pub revision: String,
    /// Path inside the repository.
    pub path: String,
    /// Length in bytes, where known.
    pub bytes: Option<u64>,
    /// SHA-256, where known. Where not, the first one seen is recorded in the cache folder and later files are held to it.
    pub sha256: Option<String>,
}

impl RemoteFile {
    /// Its path under a data folder in the hub's layout.
    pub fn in_folder(&self) -> String {
        format!("{}/{}", self.repo, self.path)
    }
}

impl fmt::Display for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at revision {}", self.in_folder(), self.revision)
    }
}

/// A client for one cache and one server.
pub struct Hub {
    client: HFClient,
    runtime: tokio::runtime::Runtime,
    options: Options,
    progress: Option<OnProgress>,
}

impl Hub {
    /// Sets a client up; nothing is requested yet.
    ///
    /// # Errors
    /// Where the endpoint is no URL or the system gives no sockets.
    pub fn new(options: &Options, progress: Option<OnProgress>) -> Result<Self> {
        let setup = |problem: String| Error::HubSetup { problem };
        let http = reqwest::Client::builder()
            .user_agent(concat!("divkd/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(30))
            .read_timeout(options.read_timeout)
            .build()
            .map_err(|e| setup(e.to_string()))?;
        // Attempts are counted here, where a cut body counts too.
        let mut builder = HFClient::builder().client(http).retry_max_attempts(0);
        if let Some(endpoint) = &options.endpoint {
            builder = builder.endpoint(endpoint);
        }
        if let Some(cache) = &options.cache {
            builder = builder.cache_dir(cache);
        }
        let client = builder.build().map_err(|e| match e {
            HFError::Url(e) => setup(format!("the endpoint (HF_ENDPOINT) is not a URL: {e}")),
            _ => setup("the client could not be built".to_owned()),
        })?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| setup(format!("no event loop: {e}")))?;
        Ok(Self { client, runtime, options: options.clone(), progress })
    }

    /// Whether the network must not be used.
    pub fn offline(&self) -> bool {
        self.options.offline.unwrap_or_else(|| {
            std::env::var("HF_HUB_OFFLINE")
                .is_ok_and(|v| ["1", "on", "yes", "true"].contains(&v.to_lowercase().as_str()))
        })
    }

    /// The file from the cache or, unless offline, from the server.
    ///
    /// A cached file with the wrong length or hash is fetched again. Two processes that want the same file take turns.
    ///
    /// # Errors
    /// [`Error::Offline`], [`Error::Hub`], [`Error::Mismatch`] and file errors.
    pub fn file(&self, file: &RemoteFile) -> Result<Fetched> {
        let place = cache::Place::new(self.client.cache_dir(), file)?;
        match self.cached_in(&place, file) {
            Ok(Some(fetched)) => return Ok(fetched),
            Ok(None) if self.offline() => return Err(self.not_cached(file)),
            Err(error @ Error::Mismatch { .. }) if !self.offline() => {
                self.note(&format!("{error}; fetching it again"));
            }
            Err(error) => return Err(error),
            Ok(None) => {}
        }
        let _turn = place.turn(|holder| self.note(&format!("{} is downloaded by {holder}", file.path)))?;
        // Another process may have fetched it while this one waited.
        if let Ok(Some(fetched)) = self.cached_in(&place, file) {
            return Ok(fetched);
        }
        let (sha256, check) = self.download(&place, file)?;
        let path = place.commit(&sha256)?;
        let bytes = std::fs::metadata(&path).map_err(Error::io("open", &path))?.len();
        Ok(Fetched { file: file.path.clone(), path, bytes, sha256, check, downloaded: true })
    }

    /// The file if the cache has it, without any request.
    ///
    /// # Errors
    /// [`Error::Mismatch`] where it is cached with the wrong length or hash; file errors.
    pub fn cached(&self, file: &RemoteFile) -> Result<Option<Fetched>> {
        self.cached_in(&cache::Place::new(self.client.cache_dir(), file)?, file)
    }

    /// What to say where a file is not cached and none is to be fetched.
    pub(crate) fn not_cached(&self, file: &RemoteFile) -> Error {
        Error::Offline { file: Box::new(file.clone()), cache: self.client.cache_dir().to_owned() }
    }

    fn cached_in(&self, place: &cache::Place, file: &RemoteFile) -> Result<Option<Fetched>> {
        let (owner, name) = hf_hub::split_id(&file.repo);
        let repository = self.client.dataset(owner, name);
        let lookup = self.block_on(async || {
            let request = repository.download_file().filename(&file.path).revision(&file.revision);
            request.local_files_only(true).send().await
        });
        let Ok(path) = lookup else { return Ok(None) };
        let bytes = std::fs::metadata(&path).map_err(Error::io("open", &path))?.len();
        let (sha256, check) = check(place, file, &path).map_err(|problem| problem.into_error(&path))?;
        Ok(Some(Fetched { file: file.path.clone(), path, bytes, sha256, check, downloaded: false }))
    }

    /// Runs a future to its end on a thread of its own: the caller may be inside another event loop.
    fn block_on<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        let run = || self.runtime.block_on(work());
        std::thread::scope(|scope| scope.spawn(run).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    fn note(&self, text: &str) {
        if let Some(progress) = &self.progress {
            progress.report(&Progress::Note(text));
        }
    }
}

/// Why a file on disk is not the wanted one.
enum Unfit {
    Differs { expected: String, found: String },
    Failed(Error),
}

impl Unfit {
    fn into_error(self, path: &Path) -> Error {
        match self {
            Unfit::Differs { expected, found } => Error::Mismatch {
                path: path.to_owned(),
                expected,
                found,
                advice:
                    "; fetch it again with `divkd data fetch`, or use --data-dir with a folder of your own"
                        .to_owned(),
            },
            Unfit::Failed(error) => error,
        }
    }
}

impl From<Error> for Unfit {
    fn from(error: Error) -> Self {
        Unfit::Failed(error)
    }
}

/// Length, form and hash of a file on disk. Where no hash was known, that of a readable table is recorded, unless the
/// cache's own name for the bytes says another one.
fn check(
    place: &cache::Place,
    file: &RemoteFile,
    path: &Path,
) -> std::result::Result<(String, HashCheck), Unfit> {
    let bytes = std::fs::metadata(path).map_err(Error::io("open", path))?.len();
    if let Some(expected) = file.bytes.filter(|&expected| expected != bytes) {
        return Err(Unfit::Differs {
            expected: format!("{expected} bytes"),
            found: format!("{bytes} bytes"),
        });
    }
    let sha256 = hash::of_file(path)?;
    let differs = |expected: String| Err(Unfit::Differs { expected, found: format!("sha256 {sha256}") });
    if let Some(published) = &file.sha256 {
        if *published != sha256 {
            return differs(format!("sha256 {published}"));
        }
        return Ok((sha256, HashCheck::Published));
    }
    if let Some(recorded) = place.recorded_hash()? {
        if recorded != sha256 {
            let note = place.hash_note();
            return differs(format!(
                "sha256 {recorded} (recorded when first fetched, in {})",
                note.display()
            ));
        }
        return Ok((sha256, HashCheck::AsFirstSeen));
    }
    if let Some(named) = cache::hash_in_name(path).filter(|named| *named != sha256) {
        return differs(format!("sha256 {named} (the name of the bytes in the cache)"));
    }
    if file.path.ends_with(".parquet") && !image_table::has_footer(path)? {
        let expected = "a parquet file (PAR1 at both ends and a footer that can be read)".to_owned();
        return Err(Unfit::Differs { expected, found: format!("{bytes} bytes of something else") });
    }
    place.record_hash(&sha256)?;
    Ok((sha256, HashCheck::FirstSeen))
}
