//! A private cluster for one test, and the binary on it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use results::record;

use crate::require::available;

/// Options that all tests share.
pub(crate) const QUICK: [&str; 5] = ["quick", "--preset", "smoke", "--device", "cpu"];

/// The rows of these tests, which count runs: methods that are added later change nothing here.
pub(crate) const METHODS: &str =
    "teacher,kd,be,be-kd,be-kd-gaussian,be-kd-ods,be-kd-conf-ods,latent-be,latent-be-tdiv-sdiv";

/// What follows `reproduce`; `more` may name other methods.
fn options<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let methods: &[&str] = if more.contains(&"--methods") { &[] } else { &["--methods", METHODS] };
    [&QUICK[..], methods, more].concat()
}

/// A cluster with a folder for records; stopped when dropped.
pub(crate) struct Cluster {
    folder: tempfile::TempDir,
}

impl Cluster {
    /// A fresh cluster, or `None` after a message where there is no Slurm.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let start = || {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slurm/start-slurm.sh");
            let mut command = Command::new(script);
            command.arg(folder.path().join("cluster")).arg("2").envs(settings.iter().copied());
            let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
            let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            if output.status.success() { Ok(()) } else { Err(message) }
        };
        let started = start();
        let cluster = Self { folder };
        available("slurm", started)?;
        Some(cluster)
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The experiment's folder.
    pub(crate) fn runs(&self) -> PathBuf {
        self.folder().join("runs/quick-smoke")
    }

    /// Any program, speaking to this cluster, without a job's or a shell's settings.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder()).env("SLURM_CONF", self.folder().join("cluster/slurm.conf"));
        for name in ["SLURM_JOB_ID", "RAYON_NUM_THREADS", "SBATCH_PARTITION"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn divkd(&self, args: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_divkd"));
        command.args(args);
        command
    }

    /// `divkd reproduce quick --preset smoke --executor slurm`.
    pub(crate) fn reproduce(&self, more: &[&str]) -> Command {
        self.divkd(&[&["reproduce", "--executor", "slurm"], &options(more)[..]].concat())
    }

    /// What a program of Slurm says.
    pub(crate) fn ask(&self, program: &str, args: &[&str]) -> String {
        text(&self.command(program).args(args).output().unwrap().stdout)
    }

    /// All logs of all jobs.
    pub(crate) fn logs(&self) -> String {
        let mut all = String::new();
        for submission in fs::read_dir(self.runs().join(".slurm")).unwrap() {
            for entry in fs::read_dir(submission.unwrap().path()).unwrap() {
                let path = entry.unwrap().path();
                if path.extension().is_some_and(|ending| ending == "log") {
                    all += &fs::read_to_string(path).unwrap();
                }
            }
        }
        all
    }

    /// Checks that every run of `expected` was trained once and to the same bytes, and that the jobs wrote the table.
    pub(crate) fn check(&self, expected: &Files) {
        let found = results(&self.folder().join("runs"));
        let logs = self.logs();
        assert!(found.keys().eq(expected.keys()), "{:?}\n{logs}", found.keys());
        assert!(&found == expected, "other bytes than the local run's\n{logs}");
        let runs = expected.keys().filter(|path| path.ends_with(record::METRICS)).count();
        assert_eq!(logs.matches("kept epoch").count(), runs, "every run is trained once\n{logs}");
        assert!(self.runs().join("table.csv").is_file() && self.runs().join("table.md").is_file());
        assert_eq!(self.ask("squeue", &["--noheader"]), "");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let cluster = self.folder().join("cluster");
        let _ = self.command("scancel").args(["--state", "RUNNING"]).output();
        let _ = Command::new(cluster.join("stop.sh")).output();
        // Its programs write below the folder until they end.
        let run = cluster.join("run");
        let end = Instant::now() + Duration::from_secs(10);
        while fs::read_dir(&run).is_ok_and(|mut pids| pids.any(|_| true)) && Instant::now() < end {
            if pids(&run).iter().all(|pid| !Path::new("/proc").join(pid).exists()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn pids(run: &Path) -> Vec<String> {
    let files = fs::read_dir(run).into_iter().flatten().flatten();
    files.filter_map(|file| Some(fs::read_to_string(file.path()).ok()?.trim().to_owned())).collect()
}

/// Files by their paths.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Predictions, metrics and models of all finished runs: what must not depend on who trained them.
pub(crate) fn results(runs: &Path) -> Files {
    let mut files = Files::new();
    for found in record::scan(runs).unwrap() {
        for name in [record::PREDICTIONS, record::METRICS, record::MODEL] {
            let path = Path::new(&found.row).join(format!("seed-{}", found.seed)).join(name);
            files.insert(path, fs::read(found.dir.join(name)).unwrap());
        }
    }
    files
}

/// The results of a local reproduction with options `more`, and what it printed.
pub(crate) fn local(more: &[&str]) -> (Files, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_divkd"));
    command.arg("reproduce").args(options(more)).current_dir(folder.path());
    let printed = succeeded(command.output().unwrap());
    (results(&folder.path().join("runs")), printed)
}

/// The local reproduction of the whole smoke plan, made once.
pub(crate) fn whole() -> &'static (Files, String) {
    static WHOLE: OnceLock<(Files, String)> = OnceLock::new();
    WHOLE.get_or_init(|| local(&[]))
}

/// What a command that must succeed wrote to standard output.
pub(crate) fn succeeded(output: Output) -> String {
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Starts a command whose messages go to the file `err`.
pub(crate) fn start(mut command: Command, err: &Path) -> Child {
    let file = fs::File::create(err).unwrap();
    command.stdout(Stdio::piped()).stderr(file).spawn().unwrap()
}

/// Waits until `holds`.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(120), "{what}: not within two minutes");
        std::thread::sleep(Duration::from_millis(20));
    }
}
