//! The hub's client against a server on this machine: every way in which a download can go right and wrong.

use std::path::Path;
use std::time::Duration;

use crate::support::server::{Fault, Server};
use crate::support::{good_rows, write_table};
use datasets::hub::{Hub, Options, RemoteFile};
use datasets::{Error, HashCheck, Id, LoadOptions, Source, load, verify};
use tempfile::TempDir;

const REPO: &str = "owner/name";
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";
const PATH: &str = "data/train.parquet";

/// A file that begins and ends as parquet does, with `fill` between.
fn body(fill: u8) -> Vec<u8> {
    [b"PAR1".to_vec(), vec![fill; 100_000], b"PAR1".to_vec()].concat()
}

/// A small table: what a file of no known hash must be.
fn table(rows: usize) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("table.parquet");
    write_table(&path, "img", "label", &good_rows(rows, 4, 3, 0), 4);
    std::fs::read(path).unwrap()
}

/// SHA-256 of `body(7)`, computed with Python's hashlib.
const SHA_7: &str = "d39deb6bf6bde5602e8a5552d97314cd84a5e7e4ca9bbe98f733ebd9df7cc859";

fn known() -> RemoteFile {
    RemoteFile { bytes: Some(100_008), sha256: Some(SHA_7.to_owned()), ..unknown() }
}

fn unknown() -> RemoteFile {
    RemoteFile {
        repo: REPO.to_owned(),
        revision: REVISION.to_owned(),
        path: PATH.to_owned(),
        bytes: None,
        sha256: None,
    }
}

fn serve() -> Server {
    Server::start(&[(REPO, REVISION, PATH, &body(7))])
}

fn serve_table() -> Server {
    Server::start(&[(REPO, REVISION, PATH, &table(10))])
}

fn options(url: &str, cache: &Path, offline: bool) -> Options {
    Options {
        endpoint: Some(url.to_owned()),
        cache: Some(cache.to_owned()),
        offline: Some(offline),
        attempts: 3,
        first_wait: Duration::from_millis(1),
        read_timeout: Duration::from_secs(5),
    }
}

fn hub(server: &Server, cache: &TempDir) -> Hub {
    Hub::new(&options(&server.url, cache.path(), false), None).unwrap()
}

fn offline(cache: &TempDir) -> Hub {
    Hub::new(&options("http://127.0.0.1:9", cache.path(), true), None).unwrap()
}

/// Nothing a later run (or another tool) would take for the file.
fn assert_not_cached(cache: &TempDir) {
    let repository = cache.path().join("datasets--owner--name");
    assert!(!repository.join("snapshots").join(REVISION).join(PATH).exists());
    let blobs = std::fs::read_dir(repository.join("blobs")).map_or(0, |entries| entries.count());
    assert_eq!(blobs, 0, "a rejected download entered the cache");
}

/// The message of an error, which must tell the way without a network and repeat nothing that the server said.
fn message(error: &Error) -> String {
    let text = error.to_string();
    assert!(text.contains("owner/name/data/train.parquet") && text.contains("--data-dir"), "{text}");
    assert!(!text.contains("hf_serverEchoedThis"), "{text}");
    text
}

#[test]
fn a_cold_cache_fetches_once_and_a_warm_one_asks_nobody() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    let first = hub(&server, &cache).file(&known()).unwrap();
    assert!(first.downloaded);
    assert_eq!((first.sha256.as_str(), first.bytes, first.check), (SHA_7, 100_008, HashCheck::Published));
    // The place where hf-hub and Python's huggingface_hub look.
    let snapshot = cache.path().join("datasets--owner--name/snapshots").join(REVISION).join(PATH);
    assert_eq!(first.path, snapshot);
    assert_eq!(std::fs::read(&snapshot).unwrap(), body(7));
    assert_eq!(server.gets().len(), 1);
    let requests = server.log().len();
    let second = hub(&server, &cache).file(&known()).unwrap();
    assert!(!second.downloaded);
    assert_eq!((second.path, second.sha256), (first.path, first.sha256));
    assert_eq!(server.log().len(), requests, "a cached pinned file makes no request");
}

#[test]
fn offline_works_from_the_cache_and_says_what_to_do_without_it() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    let error = offline(&cache).file(&known()).unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
    assert!(message(&error).contains("HF_HUB_OFFLINE"));
    hub(&server, &cache).file(&known()).unwrap();
    assert!(!offline(&cache).file(&known()).unwrap().downloaded);
}

#[test]
fn a_wrong_revision_is_an_error_at_once() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    let file = RemoteFile { revision: "f".repeat(40), ..known() };
    let error = hub(&server, &cache).file(&file).unwrap_err();
    assert!(message(&error).contains("404") && message(&error).contains("ffff"), "{error}");
    assert_eq!(server.log().len(), 1, "asking again cannot help");
    assert_not_cached(&cache);
}

#[test]
fn a_cut_body_is_continued_where_it_ended() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    server.next([Fault::Cut(40_000)]);
    let fetched = hub(&server, &cache).file(&known()).unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), body(7));
    let gets = server.gets();
    assert_eq!(gets.len(), 2);
    let from: usize = gets[1].rsplit(' ').next().unwrap().strip_suffix("-100007").unwrap().parse().unwrap();
    assert!(from > 0 && from <= 40_000, "continued at {from}");
}

#[test]
fn an_interrupted_download_is_continued_by_the_next_process() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    server.always(Fault::Cut(30_000));
    let error = hub(&server, &cache).file(&known()).unwrap_err();
    assert!(message(&error).contains("after 3 attempts"), "{error}");
    assert_not_cached(&cache);
    server.always(Fault::None);
    let fetched = hub(&server, &cache).file(&known()).unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), body(7));
    assert!(server.gets().last().unwrap().ends_with("-100007"), "{:?}", server.gets());
}

#[test]
fn a_server_without_ranges_is_asked_for_the_whole_file() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    server.next([Fault::Cut(40_000), Fault::IgnoreRange, Fault::IgnoreRange]);
    let fetched = hub(&server, &cache).file(&known()).unwrap();
    assert_eq!(std::fs::read(&fetched.path).unwrap(), body(7));
}

#[test]
fn a_file_that_is_truncated_on_the_server_never_enters_the_cache() {
    for file in [known(), unknown()] {
        let (server, cache) = (serve(), TempDir::new().unwrap());
        server.always(Fault::Body(body(7)[..60_000].to_vec()));
        let error = hub(&server, &cache).file(&file).unwrap_err();
        assert!(matches!(error, Error::Hub { .. }), "{error}");
        message(&error);
        assert_not_cached(&cache);
    }
}

#[test]
fn a_server_error_is_tried_again_and_its_page_is_never_the_file() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    server.next([Fault::Page(500, ""), Fault::Page(503, "")]);
    assert!(hub(&server, &cache).file(&known()).unwrap().downloaded);
    for (file, status) in [(known(), 500), (unknown(), 500), (known(), 502)] {
        let (server, cache) = (serve(), TempDir::new().unwrap());
        server.always(Fault::Page(status, ""));
        let error = hub(&server, &cache).file(&file).unwrap_err();
        assert!(message(&error).contains(&status.to_string()), "{error}");
        assert!(message(&error).contains("after 3 attempts"), "{error}");
        assert_eq!(server.gets().len(), 3);
        assert_not_cached(&cache);
    }
}

#[test]
fn refusals_are_explained_and_not_repeated() {
    for (status, word) in [(401, "HF_TOKEN"), (403, "HF_TOKEN"), (404, "HF_ENDPOINT"), (418, "HF_ENDPOINT")] {
        let (server, cache) = (serve(), TempDir::new().unwrap());
        server.always(Fault::Page(status, ""));
        let error = hub(&server, &cache).file(&known()).unwrap_err();
        assert!(message(&error).contains(word), "{error}");
        assert_eq!(server.gets().len(), 1, "{status}");
        assert_not_cached(&cache);
    }
}

#[test]
fn a_rate_limit_is_waited_for_where_the_wait_is_short() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    server.next([Fault::Page(429, "Retry-After: 0\r\n")]);
    hub(&server, &cache).file(&known()).unwrap();
    let (server, cache) = (serve(), TempDir::new().unwrap());
    server.always(Fault::Page(429, "Retry-After: 86400\r\n"));
    let error = hub(&server, &cache).file(&known()).unwrap_err();
    assert!(message(&error).contains("86400 s"), "{error}");
    assert_eq!(server.gets().len(), 1);
}

#[test]
fn redirect_loops_and_closed_ports_end_in_errors() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    server.always(Fault::Page(302, "Location: data/train.parquet\r\n"));
    let error = hub(&server, &cache).file(&known()).unwrap_err();
    assert!(matches!(error, Error::Hub { .. }), "{error}");
    message(&error);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let closed = options(&format!("http://user:hf_secret@127.0.0.1:{port}"), cache.path(), false);
    let error = Hub::new(&closed, None).unwrap().file(&known()).unwrap_err();
    assert!(message(&error).contains("no connection") && !message(&error).contains("hf_secret"), "{error}");
}

#[test]
fn wrong_bytes_are_fetched_twice_and_then_refused() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    server.next([Fault::Body(body(8))]);
    assert!(hub(&server, &cache).file(&known()).unwrap().downloaded, "once may be the transfer");
    let (server, cache) = (serve(), TempDir::new().unwrap());
    server.always(Fault::Body(body(8)));
    let error = hub(&server, &cache).file(&known()).unwrap_err();
    assert!(message(&error).contains(SHA_7), "{error}");
    assert_eq!(server.gets().len(), 2);
    assert_not_cached(&cache);
}

#[test]
fn a_damaged_cache_is_mended_online_and_reported_offline() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    let path = hub(&server, &cache).file(&known()).unwrap().path;
    std::fs::write(&path, body(8)).unwrap();
    let error = offline(&cache).file(&known()).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    assert!(hub(&server, &cache).file(&known()).unwrap().downloaded);
    assert_eq!(std::fs::read(&path).unwrap(), body(7));
}

#[test]
fn an_unknown_hash_is_recorded_at_first_fetch_and_held_later() {
    let (server, cache) = (serve_table(), TempDir::new().unwrap());
    let repository = cache.path().join("datasets--owner--name");
    assert_eq!(hub(&server, &cache).file(&unknown()).unwrap().check, HashCheck::FirstSeen);
    assert_eq!(hub(&server, &cache).file(&unknown()).unwrap().check, HashCheck::AsFirstSeen);
    std::fs::remove_dir_all(&repository).unwrap();
    assert_eq!(hub(&server, &cache).file(&unknown()).unwrap().check, HashCheck::AsFirstSeen);
    std::fs::remove_dir_all(&repository).unwrap();
    server.always(Fault::Body(table(11)));
    let error = hub(&server, &cache).file(&unknown()).unwrap_err();
    assert!(message(&error).contains("recorded when first fetched"), "{error}");
    assert!(message(&error).contains(&note(&cache).display().to_string()), "{error}");
    assert_not_cached(&cache);
}

/// Where the hash first seen is noted.
fn note(cache: &TempDir) -> std::path::PathBuf {
    cache.path().join(".divkd/owner--name").join(REVISION).join(format!("{PATH}.sha256"))
}

#[test]
fn a_stranger_in_the_cache_is_not_recorded_as_the_file() {
    let (server, cache) = (serve_table(), TempDir::new().unwrap());
    let snapshot = cache.path().join("datasets--owner--name/snapshots").join(REVISION).join(PATH);
    std::fs::create_dir_all(snapshot.parent().unwrap()).unwrap();
    // The marks of a parquet file and nothing between them.
    std::fs::write(&snapshot, body(7)).unwrap();
    let error = offline(&cache).file(&unknown()).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains("footer"), "{error}");
    assert!(!note(&cache).exists());
    assert!(hub(&server, &cache).file(&unknown()).unwrap().downloaded);
    assert_eq!(std::fs::read(&snapshot).unwrap(), table(10));

    // Another program's blob whose bytes are not those of its name.
    std::fs::remove_file(note(&cache)).unwrap();
    std::fs::write(&snapshot, table(11)).unwrap();
    let error = offline(&cache).file(&unknown()).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }) && error.to_string().contains("the name of"), "{error}");
    assert!(!note(&cache).exists());
    let mended = hub(&server, &cache).file(&unknown()).unwrap();
    assert_eq!((mended.downloaded, mended.check), (true, HashCheck::FirstSeen));
    assert_eq!(offline(&cache).file(&unknown()).unwrap().check, HashCheck::AsFirstSeen);
}

#[test]
fn an_html_page_with_status_200_is_not_recorded_as_the_file() {
    let (server, cache) = (serve_table(), TempDir::new().unwrap());
    server.next([Fault::Page(200, ""), Fault::Page(200, "")]);
    let error = hub(&server, &cache).file(&unknown()).unwrap_err();
    assert!(message(&error).contains("PAR1"), "{error}");
    assert_not_cached(&cache);
    assert_eq!(hub(&server, &cache).file(&unknown()).unwrap().check, HashCheck::FirstSeen);
}

#[test]
fn several_at_once_download_once() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| hub(&server, &cache).file(&known()).unwrap());
        }
    });
    assert_eq!(server.gets().len(), 1, "{:?}", server.log());
}

#[test]
fn no_path_leads_out_of_the_cache() {
    let (server, cache) = (serve(), TempDir::new().unwrap());
    for path in ["../../outside", "/etc/passwd", "a/../../b", ""] {
        let error = hub(&server, &cache).file(&RemoteFile { path: path.to_owned(), ..known() }).unwrap_err();
        assert!(matches!(error, Error::HubSetup { .. }), "{error}");
    }
    assert!(server.log().is_empty());
}

#[test]
fn a_data_set_without_published_hashes_loads_from_the_hub_and_then_offline() {
    let folder = TempDir::new().unwrap();
    let hub = Id::TinyImagenet.spec().hub.as_ref().unwrap();
    let bytes = [(hub.train.path, 400), (hub.test.path, 200)].map(|(path, rows)| {
        let at = folder.path().join(path);
        write_table(&at, "image", "label", &good_rows(rows, 64, 200, rows), 150);
        (path, std::fs::read(at).unwrap())
    });
    let files = bytes.each_ref().map(|(path, bytes)| (hub.repo, hub.revision, *path, &bytes[..]));
    let server = Server::start(&files);
    let cache = TempDir::new().unwrap();
    let mut load_options = LoadOptions {
        hub: options(&server.url, cache.path(), false),
        image: Some(16),
        ..LoadOptions::default()
    };
    let online = load(Id::TinyImagenet, &Source::Hub, &load_options).unwrap();
    assert_eq!((online.train.len(), online.val.len(), online.test.len()), (360, 40, 200));
    assert_eq!(online.provenance.revision.as_deref(), Some(hub.revision));
    assert!(online.provenance.note.contains("recorded at this first fetch"), "{}", online.provenance.note);
    assert_eq!(online.provenance.sha256.len(), 2);
    load_options.hub = options("http://127.0.0.1:9", cache.path(), true);
    let again = load(Id::TinyImagenet, &Source::Hub, &load_options).unwrap();
    assert_eq!((&again.train, &again.val, &again.test), (&online.train, &online.val, &online.test));
    let reports = verify(Id::TinyImagenet, &Source::Hub, &load_options).unwrap();
    assert!(
        reports.iter().all(|r| r.problem.is_none() && r.check == Some(HashCheck::AsFirstSeen)),
        "{reports:?}"
    );
    // The published hashes of CIFAR-10 are held against any server.
    let missing = verify(Id::Cifar10, &Source::Hub, &load_options).unwrap();
    assert!(missing.iter().all(|r| matches!(r.problem, Some(Error::Offline { .. }))), "{missing:?}");
}
