//! A hub-shaped server on this machine: HEAD and GET of `/datasets/<repository>/resolve/<revision>/<path>`.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What goes wrong with one GET.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// This status, an extra header line and a page instead of the file.
    Page(u16, &'static str),
    /// The connection closes after so many bytes of a body declared whole.
    Cut(usize),
    /// Other bytes, declared truthfully.
    Body(Vec<u8>),
    /// The whole file whatever range was asked for.
    IgnoreRange,
}

/// A running server; it ends with the test's process.
pub(crate) struct Server {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    files: Vec<(String, Vec<u8>)>,
    faults: VecDeque<Fault>,
    always: Option<Fault>,
    log: Vec<String>,
}

impl Server {
    /// Serves `files`: (repository, revision, path, bytes).
    pub(crate) fn start(files: &[(&str, &str, &str, &[u8])]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let files = files
            .iter()
            .map(|(repo, revision, path, bytes)| {
                (format!("/datasets/{repo}/resolve/{revision}/{path}"), bytes.to_vec())
            })
            .collect();
        let state = Arc::new(Mutex::new(State { files, ..State::default() }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream.unwrap(), &shared));
            }
        });
        Self { url, state }
    }

    /// The next GETs go wrong like this, one after the other.
    pub(crate) fn next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().unwrap().faults.extend(faults);
    }

    /// Every GET goes wrong like this.
    pub(crate) fn always(&self, fault: Fault) {
        self.state.lock().unwrap().always = Some(fault);
    }

    /// Request lines so far, a range appended as `<first>-<last>`.
    pub(crate) fn log(&self) -> Vec<String> {
        self.state.lock().unwrap().log.clone()
    }

    /// GETs so far.
    pub(crate) fn gets(&self) -> Vec<String> {
        self.log().into_iter().filter(|line| line.starts_with("GET")).collect()
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let Some(request) = lines.first().and_then(|line| line.strip_suffix(" HTTP/1.1")) else { return };
    let (method, path) = request.split_once(' ').unwrap();
    let range = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let (first, last) = value.strip_prefix("bytes=")?.split_once('-')?;
        name.eq_ignore_ascii_case("range").then(|| (first.parse().unwrap(), last.parse().unwrap()))
    });
    let (file, fault) = {
        let mut state = state.lock().unwrap();
        let shown = range.map(|(first, last): (usize, usize)| format!(" {first}-{last}")).unwrap_or_default();
        state.log.push(format!("{request}{shown}"));
        let file = state.files.iter().find(|(name, _)| name == path).map(|(_, bytes)| bytes.clone());
        let fault = match (method, state.faults.pop_front()) {
            ("GET", Some(fault)) => fault,
            ("GET", None) => state.always.clone().unwrap_or(Fault::None),
            (_, popped) => {
                popped.into_iter().for_each(|fault| state.faults.push_front(fault));
                Fault::None
            }
        };
        (file, fault)
    };
    let Some(file) = file else {
        return answer(stream, 404, "", b"no such file hf_serverEchoedThis", usize::MAX, method);
    };
    let whole = 0..file.len();
    let (status, part) = match range {
        Some((first, last)) => (206, first.min(file.len())..(last + 1).min(file.len())),
        None => (200, whole.clone()),
    };
    match fault {
        Fault::None => answer(stream, status, "", &file[part], usize::MAX, method),
        Fault::Page(status, header) => {
            let page = b"<html>trouble hf_serverEchoedThis</html>";
            answer(stream, status, header, page, usize::MAX, method);
        }
        Fault::Cut(bytes) => answer(stream, status, "", &file[part], bytes, method),
        Fault::Body(bytes) => answer(stream, 200, "", &bytes, usize::MAX, method),
        Fault::IgnoreRange => answer(stream, 200, "", &file[whole], usize::MAX, method),
    }
}

fn answer(mut stream: TcpStream, status: u16, header: &str, body: &[u8], send: usize, method: &str) {
    let head = format!(
        "HTTP/1.1 {status} x\r\nContent-Length: {}\r\nX-Repo-Commit: {}\r\nETag: \"e\"\r\nConnection: close\r\n{header}\r\n",
        body.len(),
        "0".repeat(40),
    );
    let _ = stream.write_all(head.as_bytes());
    if method == "GET" {
        let _ = stream.write_all(&body[..send.min(body.len())]);
    }
}
