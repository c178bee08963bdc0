//! Packed folders: sizes, what is left out, damage.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use harness::pack::{INDEX, Limits, pack, unpack};
use harness::plan::stored::PLAN;
use harness::slurm::queue::Queue;
use harness::status;
use harness::train::checkpoint::{self, Checkpoints};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use random::Stream;
use results::record::{
    DataInfo, EpochRow, LogRow, METRICS, MODEL, PREDICTIONS, Place, Predictions, RUN, RunInfo, Split,
    SplitRows,
};

use crate::checkpoints::training;
use crate::fuzz::{Edits, cases, edited, edits};

/// Bytes that no compression makes smaller.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut draws = Stream::new(seed, "noise").draws(0, 0);
    (0..bytes.div_ceil(4)).flat_map(|_| draws.next_u32().to_le_bytes()).take(bytes).collect()
}

/// A small finished record with a model of so many bytes.
fn record(out: &Path, row: &str, seed: u64, model: usize) {
    let place = Place::new("quick", "smoke", row, seed).unwrap();
    let draft = place.begin(out).unwrap();
    let config = "methods = ['teacher', 'kd', 'be']";
    let info = RunInfo {
        protocol: "1".into(),
        experiment: "quick".into(),
        preset: "smoke".into(),
        row: row.into(),
        seed,
        command: "divkd reproduce quick".into(),
        revision: "0123abc".into(),
        device: "cpu".into(),
        machine: None,
        threads: 2,
        versions: BTreeMap::new(),
        models: BTreeMap::new(),
        data: DataInfo {
            source: "synthetic".into(),
            note: String::new(),
            rows: SplitRows { train: 9, val: 1, test: 1 },
            sha256: BTreeMap::new(),
        },
        config: toml::from_str(config).unwrap(),
    };
    info.write(&draft.join(RUN)).unwrap();
    EpochRow::write_all(&[], &draft.join(METRICS)).unwrap();
    let split = || Split { logits: vec![0.5, -0.5], labels: vec![1], m: 1, n: 1, k: 2 };
    Predictions { val: split(), test: split() }.write(&draft.join(PREDICTIONS)).unwrap();
    fs::write(draft.join(MODEL), noise(seed, model)).unwrap();
    place.finish(out).unwrap();
}

/// All files below a folder by their paths in it.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut below = vec![root.to_owned()];
    while let Some(dir) = below.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                below.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

const ROWS: [&str; 4] = ["teacher-1", "teacher-2", "kd", "be"];

/// 60 executions: records with models up to twice the largest budget. No file and no folder is too large, what is packed comes
/// back the same, what is not is named, and no model takes the place of a record.
#[test]
fn sizes_are_never_exceeded_and_nothing_is_lost_in_silence() {
    let runs = prop::collection::btree_map((0..ROWS.len(), 1..4_u64), 0..400_000_usize, 1..10);
    let test = |(runs, parts, bytes): (BTreeMap<(usize, u64), usize>, usize, u64)| {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for ((row, seed), model) in &runs {
            record(&at("runs"), ROWS[*row], *seed, *model);
        }
        let limits = Limits { files: parts + 1, bytes };
        let done = pack(&at("runs"), &at("packed"), &limits).unwrap();
        let packed = files(&at("packed"));
        prop_assert!(packed.len() <= limits.files);
        prop_assert!(packed.values().all(|file| file.len() as u64 <= bytes));
        prop_assert_eq!(done.parts, packed.len());

        prop_assert_eq!(unpack(&at("packed"), &at("again")).unwrap().left_out, done.left_out.clone());
        let (before, mut after) = (files(&at("runs")), files(&at("again")));
        prop_assert_eq!(done.files, after.len());
        for left in &done.left_out {
            let path = PathBuf::from(&left.path);
            prop_assert!(path.ends_with(MODEL), "{}", left.path);
            prop_assert_eq!(before[&path].len() as u64, left.bytes);
            after.insert(path.clone(), before[&path].clone());
        }
        prop_assert!(before == after);
        Ok(())
    };
    // Parts of 48 KiB and more hold ten records of about a kilobyte, and the index.
    TestRunner::new(cases(60)).run(&(runs, 1..8_usize, 48_000..100_000_u64), test).unwrap();
}

/// Of four models that of the unfinished seed's teacher has the first place, then those of the finished seed in the rows' order.
#[test]
fn models_that_are_needed_come_before_those_that_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Seed 1 has all of its students, seed 2 has none.
    for (row, seed) in [("teacher-1", 1), ("kd", 1), ("be", 1), ("teacher-1", 2)] {
        record(&at("runs"), row, seed, 40_000);
    }
    let left_out = |name: &str, bytes: u64| -> Vec<String> {
        let packed = pack(&at("runs"), &at(name), &Limits { files: 2, bytes }).unwrap();
        packed.left_out.into_iter().map(|left| left.path).collect()
    };
    let [teacher, kd, be] = ["teacher-1", "kd", "be"].map(|row| format!("quick-smoke/{row}/seed-1/{MODEL}"));
    assert_eq!(left_out("all", 200_000), Vec::<String>::new());
    assert_eq!(left_out("two", 100_000), [kd.clone(), be.clone()]);
    assert_eq!(left_out("one", 60_000), [teacher, kd, be]);
}

/// The sizes that are promised, with a model that no folder holds and one that takes three parts.
#[test]
fn a_model_larger_than_the_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    record(&at("runs"), "kd", 1, 113 << 20);
    record(&at("runs"), "be", 1, 40 << 20);
    let done = pack(&at("runs"), &at("packed"), &Limits::default()).unwrap();
    assert_eq!(done.left_out.len(), 1);
    assert_eq!(done.left_out[0].path, format!("quick-smoke/kd/seed-1/{MODEL}"));
    let sizes: Vec<usize> = files(&at("packed")).values().map(Vec::len).collect();
    assert!(sizes.len() == 4 && sizes.iter().all(|size| *size <= 16 << 20), "{sizes:?}");
    unpack(&at("packed"), &at("again")).unwrap();
    let model = format!("quick-smoke/be/seed-1/{MODEL}");
    assert!(files(&at("again"))[Path::new(&model)] == noise(1, 40 << 20));
}

/// A packed folder of two parts.
fn two_parts(folder: &Path) -> PathBuf {
    record(&folder.join("runs"), "be", 1, 90_000);
    let packed = folder.join("packed");
    pack(&folder.join("runs"), &packed, &Limits { files: 8, bytes: 60_000 }).unwrap();
    assert_eq!(files(&packed).len(), 3);
    packed
}

#[test]
fn damaged_and_missing_parts_are_named_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let packed = two_parts(folder.path());
    let out = folder.path().join("out");
    let error = || format!("{:#}", unpack(&packed, &out).unwrap_err());
    let second = packed.join("part-2.zst");
    let whole = fs::read(&second).unwrap();
    let mut changed = whole.clone();
    changed[100] ^= 1;
    let longer = [&whole[..], b"x"].concat();
    for damage in [&changed[..], &whole[1..], &longer, b""] {
        fs::write(&second, damage).unwrap();
        assert!(
            error().contains("part-2.zst is damaged (its size or hash does not fit pack.toml)"),
            "{}",
            error()
        );
    }
    fs::remove_file(&second).unwrap();
    assert!(error().contains("part-2.zst: it belongs to the folder, copy it too"), "{}", error());
    fs::write(&second, whole).unwrap();

    let index = fs::read_to_string(packed.join(INDEX)).unwrap();
    for evil in ["../evil/run.toml", "/tmp/evil/run.toml", "quick-smoke/be/seed-1/../../../../evil"] {
        let text = index.replacen("quick-smoke/be/seed-1/run.toml", evil, 1);
        fs::write(packed.join(INDEX), text).unwrap();
        assert!(error().contains(&format!("`{evil}` is no file of a record, refused")), "{}", error());
    }
    // A record that would go to another's place.
    fs::write(packed.join(INDEX), index.replace("quick-smoke/be/", "quick-smoke/kd/")).unwrap();
    assert!(
        error().contains("quick-smoke/kd/seed-1/run.toml describes quick-smoke/be/seed-1"),
        "{}",
        error()
    );
    assert!(!out.exists());
}

/// Checkpoints that a record or a checkpoint from elsewhere would end stop it before anything is written, unless they are of the
/// same settings and data. What a run is computed with is no part of its record.
#[test]
fn checkpoints_of_other_settings_are_not_ended() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let dir = |out: &str, row: &str| checkpoint::dir(&at(out).join("quick-smoke"), row, 1);
    let begin = |out: &str, row: &str, inputs: &str| {
        let dir = dir(out, row);
        Checkpoints::new(dir.clone(), toml::from_str(inputs).unwrap()).save(&training(1)).unwrap();
        fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()
    };
    // What the record of `record` depends on.
    let same = "['data found']\n'train rows' = '9'\n'validation rows' = '1'\n'test rows' = '1'\n";
    record(&at("runs"), "teacher-1", 1, 10);
    let later = begin("runs", "kd", same);
    fs::rename(&later, later.with_file_name("epoch-000003-step-00000000.safetensors")).unwrap();
    pack(&at("runs"), &at("packed"), &Limits::default()).unwrap();

    let other = same.replace("'9'", "'8'");
    for row in ["teacher-1", "kd"] {
        let out = format!("{row}-of-others");
        begin(&out, row, &other);
        let before = files(&at(&out));
        let error = format!("{:#}", unpack(&at("packed"), &at(&out)).unwrap_err());
        let found = dir(&out, row).display().to_string();
        assert!(error.contains("nothing was unpacked"), "{error}");
        let difference = "begun with other settings or data: data found.train rows: was \"8\", is \"9\"";
        assert!(error.contains(&format!("\n  {found}, {difference}")), "{error}");
        assert!(files(&at(&out)) == before, "{row}");
    }
    begin("out", "teacher-1", &format!("precision = 'tf32'\nmicro-batch = 8\n{same}"));
    begin("out", "kd", same);
    unpack(&at("packed"), &at("out")).unwrap();
    assert!(at("out/quick-smoke/teacher-1/seed-1").is_dir() && !dir("out", "teacher-1").exists());
    assert_eq!(fs::read_dir(dir("out", "kd")).unwrap().count(), 2);
}

/// Runs that were asked for and have not begun come along, beside those that were asked for where they come to.
#[test]
fn plans_are_merged() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let plan = |out: &str| at(out).join("quick-smoke").join(PLAN);
    let row = |name: &str, seeds: u64| format!("[[row]]\nname = \"{name}\"\nseeds = {seeds}\nteachers = 1\n");
    record(&at("runs"), "teacher-1", 1, 10);
    fs::write(plan("runs"), row("teacher-1", 2) + &row("be", 1) + &row("kd", 2)).unwrap();
    pack(&at("runs"), &at("packed"), &Limits::default()).unwrap();

    fs::create_dir_all(plan("out").parent().unwrap()).unwrap();
    fs::write(plan("out"), row("teacher-1", 1) + &row("kd", 3)).unwrap();
    let done = unpack(&at("packed"), &at("out")).unwrap();
    assert_eq!((done.written, done.skipped), (5, 0));
    let seen = status::Experiment::look(&at("out/quick-smoke"), &Queue::default()).unwrap();
    let runs: Vec<String> = seen.runs.iter().map(|(run, state)| format!("{run} {}", state.name())).collect();
    let waiting = ["kd/seed-1", "be/seed-1", "teacher-1/seed-2", "kd/seed-2", "kd/seed-3"];
    let expected: Vec<String> = std::iter::once("teacher-1/seed-1 done".to_owned())
        .chain(waiting.map(|run| format!("{run} waiting")))
        .collect();
    assert_eq!(runs, expected);
    let again = unpack(&at("packed"), &at("out")).unwrap();
    assert_eq!((again.written, again.skipped), (0, 5));

    for damage in ["row = 1", &row("kd", u64::from(u32::MAX))] {
        fs::remove_dir_all(at("out")).unwrap();
        fs::create_dir_all(plan("out").parent().unwrap()).unwrap();
        fs::write(plan("out"), damage).unwrap();
        let error = format!("{:#}", unpack(&at("packed"), &at("out")).unwrap_err());
        assert!(error.contains("plan.toml: not a plan; remove it"), "{error}");
        assert_eq!(files(&at("out")).len(), 1, "nothing was written");
    }
}

/// Found while the records are still there, not where they are to be unpacked.
#[test]
fn a_renamed_folder_is_not_packed() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    record(&at("runs"), "be", 1, 100);
    fs::rename(at("runs/quick-smoke"), at("runs/mine")).unwrap();
    let error = format!("{:#}", pack(&at("runs"), &at("packed"), &Limits::default()).unwrap_err());
    assert!(error.contains("runs/mine/be/seed-1 holds the record of quick-smoke/be/seed-1"), "{error}");
    assert!(!at("packed").exists());
}

/// 400 executions: an edited index, or a changed byte in a part. An error or the same files, and nothing anywhere else.
#[test]
fn damaged_folders() {
    let folder = tempfile::tempdir().unwrap();
    let packed = two_parts(folder.path());
    let whole = files(&packed);
    let expected = files(&folder.path().join("runs"));
    let text = String::from_utf8(whole[Path::new(INDEX)].clone()).unwrap();
    let test = |(edits, flip): (Edits, Option<(usize, u8)>)| {
        let mut damaged = whole.clone();
        damaged.insert(INDEX.into(), edited(&text, &edits).into_bytes());
        if let Some((at, change)) = flip {
            damaged.get_mut(Path::new("part-2.zst")).unwrap()[at] ^= change;
        }
        for (name, bytes) in &damaged {
            fs::write(packed.join(name), bytes).unwrap();
        }
        let inner = folder.path().join("inner");
        let out = inner.join("out");
        if unpack(&packed, &out).is_ok() {
            for (path, bytes) in files(&out) {
                prop_assert!(expected.get(&path) == Some(&bytes), "{}", path.display());
            }
        } else if out.exists() {
            prop_assert!(files(&out).is_empty());
        }
        let names = fs::read_dir(folder.path()).unwrap().count();
        prop_assert!(names == 2 || names == 3 && inner.is_dir());
        let _ = fs::remove_dir_all(&inner);
        Ok(())
    };
    let flip = prop::option::of((0..1000_usize, 1..=255_u8));
    TestRunner::new(cases(400)).run(&(edits(), flip), test).unwrap();
}
