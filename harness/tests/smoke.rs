//! `reproduce quick --preset smoke` from nothing to the table: every file of the records, the same bytes on another
//! number of threads, finished runs skipped, an interrupted one resumed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use results::analysis::{self, Against, Analysis, Set, Space, TEACHERS};
use results::record::{self, Predictions, RunInfo};

const ROWS: [&str; 12] = [
    "teacher-1",
    "teacher-2",
    "teacher-3",
    "teacher-4",
    "kd",
    "be",
    "be-kd",
    "be-kd-gaussian",
    "be-kd-ods",
    "be-kd-conf-ods",
    "latent-be",
    "latent-be-tdiv-sdiv",
];

fn divkd(folder: &Path, threads: usize, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_divkd"))
        .args(args)
        .env("RAYON_NUM_THREADS", threads.to_string())
        .current_dir(folder)
        .output()
        .expect("the binary runs")
}

fn reproduce(folder: &Path, threads: usize, more: &[&str]) -> Output {
    let args = ["reproduce", "quick", "--preset", "smoke", "--device", "cpu"];
    let output = divkd(folder, threads, &[&args[..], more].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    output
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run_dir(folder: &Path, row: &str) -> PathBuf {
    folder.join("runs/quick-smoke").join(row).join("seed-1")
}

/// The files that must not depend on time or threads, by row and name.
fn results(folder: &Path) -> BTreeMap<(String, &'static str), Vec<u8>> {
    let mut files = BTreeMap::new();
    for row in ROWS {
        for name in [record::PREDICTIONS, record::METRICS, record::MODEL] {
            files.insert((row.to_owned(), name), fs::read(run_dir(folder, row).join(name)).unwrap());
        }
    }
    for row in analysed() {
        let path = analysis::path(&folder.join("runs/quick-smoke"), row, 1);
        files.insert((row.to_owned(), analysis::FOLDER), fs::read(path).unwrap());
    }
    files
}

/// The rows that have stored arrays.
fn analysed() -> impl Iterator<Item = &'static str> {
    std::iter::once(TEACHERS).chain(ROWS.into_iter().filter(|row| !row.starts_with("teacher")))
}

#[test]
fn the_whole_pipeline() {
    let folder = tempfile::tempdir().unwrap();
    let first = reproduce(folder.path(), 1, &[]);
    let stdout = text(&first.stdout);
    let kld = stdout.lines().next().unwrap();
    let names: Vec<&str> = kld.split(' ').filter_map(|part| part.split('=').next()).collect();
    assert_eq!(names, ["train-kld", "clean", "gaussian", "ods", "conf-ods"], "{kld}");
    for row in ["de-1", "de-4", "kd", "be-kd-conf-ods"] {
        assert!(stdout.contains(row), "{row}: {stdout}");
    }

    check_records(folder.path());
    check_analyses(folder.path(), kld);
    check_table(folder.path());

    // Finished runs are skipped, and nothing is written again.
    let before = results(folder.path());
    let all = 4 + methods::registry().len() - 1;
    let again = reproduce(folder.path(), 2, &[]);
    assert_eq!(text(&again.stdout), stdout);
    assert!(
        text(&again.stderr).contains(&format!("{all} runs, {all} finished, 0 to train")),
        "{}",
        text(&again.stderr)
    );
    assert_eq!(results(folder.path()), before);

    // Other settings do not mix with the records that are there.
    let args = ["reproduce", "quick", "--preset", "smoke", "--set", "teacher.lr=0.2"];
    let other = divkd(folder.path(), 2, &args);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stderr).contains("teacher.lr: was 0.01, is 0.2"), "{}", text(&other.stderr));

    // Two threads, and one run begun anew in the middle of the others: the same bytes.
    let second = tempfile::tempdir().unwrap();
    reproduce(second.path(), 2, &[]);
    assert!(results(second.path()) == before, "1 and 2 threads differ");
    fs::remove_dir_all(run_dir(second.path(), "be-kd-ods")).unwrap();
    let again = text(&reproduce(second.path(), 2, &[]).stderr);
    assert!(results(second.path()) == before, "a run depends on what ran before it");
    // The model is a new file with the same content: its analysis stands.
    assert!(!again.contains("analysed"), "{again}");

    // Without weights nothing is analysed, and without anything to do no data are read.
    for row in ROWS {
        fs::remove_file(run_dir(second.path(), row).join(record::MODEL)).unwrap();
    }
    let analyses = second.path().join("runs/quick-smoke/analysis");
    let stored = fs::read_dir(&analyses).unwrap().count();
    assert!(stored >= 9, "{stored} analyses of the teachers and of eight students at least");
    fs::remove_dir_all(analyses).unwrap();
    let bare = reproduce(second.path(), 2, &[]);
    assert!(!text(&bare.stdout).contains("train-kld"), "{}", text(&bare.stdout));
    assert!(text(&bare.stderr).contains(&format!("{stored} analyses are missing")), "{}", text(&bare.stderr));

    // Other data do not mix either, once something is to be trained on them.
    fs::remove_dir_all(run_dir(second.path(), "be")).unwrap();
    let told = run_dir(second.path(), "teacher-1").join(record::RUN);
    let description = fs::read_to_string(&told).unwrap();
    assert!(description.contains("\ntrain = 96\n"), "{description}");
    fs::write(&told, description.replace("\ntrain = 96\n", "\ntrain = 95\n")).unwrap();
    let other = divkd(second.path(), 2, &["reproduce", "quick", "--preset", "smoke"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stderr).contains("train rows: was \"95\", is \"96\""), "{}", text(&other.stderr));
}

fn check_records(folder: &Path) {
    for row in ROWS {
        let dir = run_dir(folder, row);
        let mut names: Vec<String> = fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let expected =
            ["metrics.csv", "model.safetensors", "predictions.safetensors", "run.toml", "timing.csv"];
        assert_eq!(names, expected, "{row}");
        let siblings: Vec<_> = fs::read_dir(dir.parent().unwrap()).unwrap().collect();
        assert_eq!(siblings.len(), 1, "{row}: a temporary folder was left");

        let record = record::Record::open(&dir).unwrap();
        let RunInfo { experiment, preset, seed, device, machine, config, data, .. } = record.info().clone();
        assert_eq!(
            (experiment.as_str(), preset.as_str(), seed, device.as_str()),
            ("quick", "smoke", 1, "cpu")
        );
        assert_eq!(machine, Some(harness::machine::class()), "{row}");
        assert_eq!((data.rows.train, data.rows.val, data.rows.test), (96, 32, 64));
        assert_eq!(config.get("members").and_then(toml::Value::as_integer), Some(4));

        let epochs = record.epochs().unwrap();
        assert_eq!(epochs.len(), 3, "{row}");
        let distils = row.ends_with("kd") || row.contains("-kd-") || row.starts_with("latent");
        for (index, epoch) in epochs.iter().enumerate() {
            assert_eq!(epoch.epoch as usize, index + 1);
            assert!(epoch.loss.is_finite() && epoch.ce.is_some(), "{row}");
            assert_eq!(epoch.kd.is_some(), distils, "{row}");
            // Validated at epoch 1, at 2 as a multiple of 2, and at the last.
            assert!(epoch.val_acc.is_some() && epoch.val_nll.is_some(), "{row}");
        }
        let Predictions { val, test } = record.predictions().unwrap();
        let members = if row.starts_with("be") { 4 } else { 1 };
        assert_eq!((val.m, val.n, val.k), (members, 32, 10), "{row}");
        assert_eq!((test.m, test.n, test.k), (members, 64, 10), "{row}");

        // The kept network's validation accuracy is the best of the epochs'.
        let rows = metrics::Probs::mean_of_members(&val.logits, 1, val.m * val.n, val.k).unwrap();
        let acc = metrics::acc(&rows, &val.labels.repeat(val.m)).unwrap();
        let best = epochs.iter().filter_map(|epoch| epoch.val_acc).fold(0.0, f64::max);
        assert_eq!(acc, best, "{row}");
    }
}

/// 4 teachers, 4 subnetworks, 96 training images, 64 test images.
fn check_analyses(folder: &Path, kld: &str) {
    let stored = analysis::scan(&folder.join("runs/quick-smoke")).unwrap();
    let names: Vec<&str> = stored.iter().map(|one| one.row.as_str()).collect();
    // Every student of the registry, methods that were added later among them.
    assert_eq!(names.len(), methods::registry().len(), "{names:?}");
    let known: Vec<&str> = names.into_iter().filter(|name| analysed().any(|row| row == *name)).collect();
    assert_eq!(known, analysed().collect::<Vec<_>>());
    let of = |row: &str| stored.iter().find(|one| one.row == row).unwrap();
    let teachers = of(TEACHERS);
    let means = Set::PAPER.map(|set| format!("{}={:.4}", set.name(), teachers.diversity[&set].mean_kl()));
    assert_eq!(format!("train-kld {}", means.join(" ")), kld);
    let confidence = teachers.confidence.as_ref().unwrap();
    assert_eq!((confidence.len(), confidence.columns()), (4, 96));
    // The mean over columns is the mean pairwise KL, on clean images that of the line.
    let clean = &teachers.transfer.as_ref().unwrap().clean;
    let mean = clean.iter().map(|kl| f64::from(*kl)).sum::<f64>() / 4.0;
    assert!((mean - teachers.diversity[&Set::Clean].mean_kl()).abs() < 1e-6, "{clean:?}");
    assert_eq!(teachers.remainder.as_ref().unwrap().curves.len(), 4);
    assert!(teachers.jacobian.is_none());

    for row in analysed().skip(1) {
        let Analysis { diversity, jacobian, cost, models, .. } = of(row);
        let jacobian = jacobian.as_ref().unwrap();
        let distance = &jacobian.spaces[&Space::Probs].distance;
        let is_ensemble = row.starts_with("be");
        let (members, against) = if is_ensemble { (4, Against::OneToOne) } else { (1, Against::Ensemble) };
        assert_eq!((distance.len(), distance.columns(), jacobian.against), (members, 64, against), "{row}");
        assert_eq!(diversity.len(), if is_ensemble { 4 } else { 0 }, "{row}");
        // A subnetwork costs what a teacher does, and they share their slow weights.
        assert_eq!(cost.forward_flops * 4, teachers.cost.forward_flops * members as u64, "{row}");
        assert!(cost.parameters * 4 < teachers.cost.parameters * 2, "{row}");
        assert_eq!(models.len(), 5, "{row}");
    }
}

fn check_table(folder: &Path) {
    let output = divkd(folder, 2, &["table", "--format", "csv"]);
    let table = text(&output.stdout);
    let rows: Vec<&str> = table.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    // The paper's in its order, then others by name; methods that were added later are left out here.
    let expected = [
        "de-1",
        "de-2",
        "de-3",
        "de-4",
        "kd",
        "be",
        "be-kd",
        "be-kd-gaussian",
        "be-kd-ods",
        "be-kd-conf-ods",
        "latent-be",
        "latent-be-tdiv-sdiv",
    ];
    let known: Vec<&str> = rows.into_iter().filter(|row| expected.contains(row)).collect();
    assert_eq!(known, expected);
    assert!(table.lines().skip(1).all(|line| line.starts_with("quick-smoke,")), "{table}");

    let run = run_dir(folder, "be-kd");
    let eval = text(&divkd(folder, 2, &["eval", run.to_str().unwrap()]).stdout);
    let nll = eval.lines().find_map(|line| line.strip_prefix("nll ")).unwrap().trim().to_owned();
    let in_table = table.lines().find(|line| line.starts_with("quick-smoke,be-kd,")).unwrap();
    assert_eq!(in_table.split(',').nth(4), Some(nll.as_str()));

    // An exported model imports as the network that it is.
    let network = ["--network", "resnet-8"];
    let export = divkd(folder, 2, &["export", run.to_str().unwrap(), "--out", "model.safetensors"]);
    assert_eq!(export.status.code(), Some(0), "{}", text(&export.stderr));
    let import = [&["import", "model.safetensors"], &network[..], &["--out", "again.safetensors"]].concat();
    let import = divkd(folder, 2, &import);
    assert_eq!(import.status.code(), Some(0), "{}", text(&import.stderr));
    assert!(text(&import.stderr).contains("BatchEnsemble of 4, 10 classes"), "{}", text(&import.stderr));
    let bytes = |name: &str| fs::read(folder.join(name)).unwrap();
    assert_eq!(bytes("model.safetensors"), bytes("again.safetensors"));
}

/// A run that is killed goes on from its checkpoint to the same bytes. The run is long enough for the kill to come in its
/// middle.
#[test]
fn a_killed_run_is_resumed_to_the_same_bytes() {
    let long = [
        "--methods",
        "teacher",
        "--members",
        "1",
        "--set",
        "teacher.epochs=300",
        "--set",
        "teacher.batch=32",
    ];
    let whole = tempfile::tempdir().unwrap();
    reproduce(whole.path(), 2, &long);

    let folder = tempfile::tempdir().unwrap();
    let args = [&["reproduce", "quick", "--preset", "smoke", "--device", "cpu"], &long[..]].concat();
    let mut child = Command::new(env!("CARGO_BIN_EXE_divkd"))
        .args(&args)
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let checkpoints = folder.path().join("runs/quick-smoke/teacher-1/.tmp-checkpoints-seed-1");
    let begun = || checkpoints.join("epoch-000001-step-00000000.safetensors").is_file();
    while !begun() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(checkpoints.is_dir(), "the run was over before it was killed");

    let resumed = reproduce(folder.path(), 2, &long);
    let stderr = text(&resumed.stderr);
    assert!(stderr.contains("resumed teacher-1/seed-1 at epoch "), "{stderr}");
    for name in [record::PREDICTIONS, record::METRICS] {
        let bytes = |folder: &Path| fs::read(run_dir(folder, "teacher-1").join(name)).unwrap();
        assert!(bytes(folder.path()) == bytes(whole.path()), "{name}");
    }
}

/// A checkpoint with a flipped bit is passed over for the one before; other settings are refused with the difference.
#[test]
fn damaged_checkpoints_and_other_settings_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let row = folder.path().join("runs/quick-smoke/teacher-1");
    // A loss that is not finite stops the run; its checkpoints stay.
    let short = ["--methods", "teacher", "--members", "1", "--set", "teacher.epochs=6"];
    let failing =
        [&short[..], &["--set", "teacher.schedule.milestones=[5,5,6]", "--set", "teacher.lr=1e30"]].concat();
    let args = ["reproduce", "quick", "--preset", "smoke", "--device", "cpu"];
    let stopped = divkd(
        folder.path(),
        2,
        &[&args[..], &failing, &["--set", "teacher.schedule.warmup_factor=0"]].concat(),
    );
    assert_eq!(stopped.status.code(), Some(1), "{}", text(&stopped.stderr));
    let stderr = text(&stopped.stderr);
    assert!(stderr.contains("the loss is ") && stderr.contains("at epoch "), "{stderr}");

    let other = divkd(folder.path(), 2, &[&args[..], &short].concat());
    assert_eq!(other.status.code(), Some(1));
    assert!(
        text(&other.stderr).contains("teacher.lr: was 1000000000000000000000000000000.0, is 0.01"),
        "{}",
        text(&other.stderr)
    );

    let mut files: Vec<PathBuf> = fs::read_dir(row.join(".tmp-checkpoints-seed-1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let newest = files.pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&newest, bytes).unwrap();
    let other = divkd(folder.path(), 2, &[&args[..], &failing].concat());
    assert!(text(&other.stderr).contains("is damaged (its hash does not fit)"), "{}", text(&other.stderr));
}
