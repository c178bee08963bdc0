//! What went wrong in one attempt, whether another may help, and what the user can do.

use std::error::Error as _;
use std::time::Duration;

use hf_hub::HFError;

use super::RemoteFile;
use crate::Error;

/// The longest wait that a server may ask for (Retry-After) before we rather give up.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// One failed attempt.
pub(super) struct Failure {
    /// What happened. Holds nothing that a server wrote and no query string.
    pub(super) problem: String,
    /// What to do about it.
    pub(super) advice: &'static str,
    /// Whether another attempt may succeed.
    pub(super) retry: bool,
    /// How long the server asked us to wait.
    pub(super) wait: Option<Duration>,
}

const TRY_LATER: &str = "try again later";
const CHECK_PROXY: &str =
    "the server or a proxy on the way gives something else than the file: check HF_ENDPOINT";

impl Failure {
    /// The connection broke or the server is in trouble: another attempt may help.
    pub(super) fn passing(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), advice: TRY_LATER, retry: true, wait: None }
    }

    /// The bytes are not the wanted ones: worth another attempt only where `retry`.
    pub(super) fn wrong_bytes(problem: impl Into<String>, retry: bool) -> Self {
        Self { problem: problem.into(), advice: CHECK_PROXY, retry, wait: None }
    }

    /// An error of the client.
    pub(super) fn from_client(error: HFError) -> Self {
        match error {
            HFError::AuthRequired { .. } => Self::lasting(
                "the server refuses the request (401)",
                "the data sets are public, so an expired token is the usual cause: renew or unset HF_TOKEN",
            ),
            HFError::Forbidden { .. } => Self::lasting(
                "the server forbids the request (403)",
                "check that HF_TOKEN may read public repositories, or unset it",
            ),
            HFError::EntryNotFound { .. }
            | HFError::RepoNotFound { .. }
            | HFError::RevisionNotFound { .. } => Self::lasting(
                "the server has no such file at this revision (404)",
                "check HF_ENDPOINT: a mirror must carry the pinned revision",
            ),
            HFError::RateLimited { retry_after, .. } => {
                let asked = retry_after.map(|t| format!(", wait {} s", t.as_secs())).unwrap_or_default();
                Self {
                    problem: format!("the server limits requests (429{asked})"),
                    advice: TRY_LATER,
                    retry: retry_after.is_none_or(|wait| wait <= LONGEST_WAIT),
                    wait: retry_after,
                }
            }
            HFError::Http { context } => {
                let status = context.status;
                let problem = format!("the server answers {status}");
                if status.is_server_error() || status.as_u16() == 408 {
                    Self::passing(problem)
                } else {
                    Self::lasting(problem, CHECK_PROXY)
                }
            }
            HFError::Request { source, .. } => Self::from_transport(source),
            HFError::MalformedResponse { what, .. } => {
                Self::lasting(format!("the answer is not a hub's: {what}"), CHECK_PROXY)
            }
            HFError::Xet { operation, .. } => Self::passing(format!("{operation} through Xet failed")),
            HFError::Io(error) => Self::passing(format!("the transfer broke off: {error}")),
            _ => Self::lasting("the client refuses the request", CHECK_PROXY),
        }
    }

    fn from_transport(error: reqwest::Error) -> Self {
        if error.is_redirect() {
            return Self::lasting("the server redirects without end", CHECK_PROXY);
        }
        let kind = if error.is_timeout() {
            "no answer in time"
        } else if error.is_connect() {
            "no connection"
        } else {
            "the transfer broke off"
        };
        // Only the innermost cause: outer layers repeat the address, which may hold a signature.
        let error = error.without_url();
        let mut cause = error.source();
        while let Some(inner) = cause.and_then(|c| c.source()) {
            cause = Some(inner);
        }
        Self::passing(cause.map_or_else(|| kind.to_owned(), |cause| format!("{kind} ({cause})")))
    }

    fn lasting(problem: impl Into<String>, advice: &'static str) -> Self {
        Self { problem: problem.into(), advice, retry: false, wait: None }
    }

    /// The error after the last of `attempts`.
    pub(super) fn into_error(self, file: &RemoteFile, endpoint: &str, attempts: u32) -> Error {
        let tried = if attempts == 1 { String::new() } else { format!(" (after {attempts} attempts)") };
        Error::Hub {
            file: Box::new(file.clone()),
            endpoint: without_credentials(endpoint),
            problem: self.problem + &tried,
            advice: self.advice.to_owned(),
        }
    }
}

/// An address without user name, password, query and fragment.
fn without_credentials(endpoint: &str) -> String {
    let Ok(mut url) = reqwest::Url::parse(endpoint) else { return "the endpoint".to_owned() };
    let cleared = url.set_username("").and_then(|()| url.set_password(None));
    url.set_query(None);
    url.set_fragment(None);
    if cleared.is_ok() { url.to_string() } else { "the endpoint".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lose_their_secrets() {
        assert_eq!(without_credentials("http://user:hf_secret@host:80/a?sig=b#c"), "http://host/a");
        assert_eq!(without_credentials("hf_secret"), "the endpoint");
    }
}
