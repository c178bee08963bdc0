//! Checkpoints that are damaged, and those of other inputs.

use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Device;
use harness::train::checkpoint::Checkpoints;
use harness::train::training::Training;
use nn::{Network, NetworkSpec, Sgd, SgdSettings};

use crate::support::{TEACHER, checkpoints, results, run, signal, start, stopped, undisturbed, until};

/// The newest is cut, emptied, changed in one bit, or no checkpoint at all: the one before goes on. Both are damaged: the
/// run begins anew. Always the bytes of an undisturbed run.
#[test]
fn the_newest_undamaged_checkpoint_goes_on() {
    let begun = tempfile::tempdir().unwrap();
    stopped(begun.path());
    let flip = |mut bytes: Vec<u8>| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
        bytes
    };
    let damages: [fn(Vec<u8>) -> Vec<u8>; 3] =
        [|bytes| bytes[..bytes.len() - 1].to_vec(), |_| Vec::new(), |_| b"{\"no\": \"checkpoint\"}".to_vec()];
    for (index, damage) in damages.into_iter().chain([flip as fn(_) -> _]).enumerate() {
        let folder = tempfile::tempdir().unwrap();
        copy(&begun.path().join("runs"), &folder.path().join("runs"));
        let mut files = checkpoints(folder.path());
        assert_eq!(files.len(), 2);
        // The last round damages both.
        files.drain(..usize::from(index < 3));
        for file in &files {
            fs::write(file, damage(fs::read(file).unwrap())).unwrap();
        }
        let stderr = run(folder.path(), &TEACHER, 0);
        assert_eq!(stderr.matches("is damaged (").count(), files.len(), "{stderr}");
        assert_eq!(stderr.contains("resumed teacher-1/seed-1 at epoch "), index < 3, "{stderr}");
        assert!(&results(folder.path()) == undisturbed(), "damage {index}");
    }
}

/// A run that had come far begins anew, for its checkpoints are damaged, and keeps the new ones, though their names come
/// before: stopped again, it goes on from these.
#[test]
fn what_is_stored_after_the_damage_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("runs/quick-smoke/teacher-1/.tmp-checkpoints-seed-1");
    fs::create_dir_all(&dir).unwrap();
    for epoch in [98, 99] {
        fs::write(dir.join(format!("epoch-{epoch:06}-step-00000000.safetensors")), "cut").unwrap();
    }
    let mut child = start(folder.path(), &TEACHER, "err");
    let is_new = |path: &PathBuf| path.to_string_lossy().contains("epoch-00000");
    until("a checkpoint of the run that began anew", || {
        assert_eq!(child.try_wait().unwrap(), None, "over before it was stopped");
        checkpoints(folder.path()).iter().any(is_new)
    });
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(143));
    let err = fs::read_to_string(folder.path().join("err")).unwrap();
    assert_eq!(err.matches("set aside as *.damaged; trying the one before").count(), 2, "{err}");

    let stderr = run(folder.path(), &TEACHER, 0);
    assert!(!stderr.contains("is damaged ("), "{stderr}");
    assert!(stderr.contains("resumed teacher-1/seed-1 at epoch "), "{stderr}");
    assert!(&results(folder.path()) == undisturbed());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(path, to).unwrap();
        }
    }
}

/// A network that has not trained yet, its parameters from `seed`.
pub(crate) fn training(seed: u64) -> Training {
    let spec = NetworkSpec::named("resnet-8", 8, 10).unwrap();
    let network = Network::new(&spec, seed, &Device::Cpu).unwrap();
    let settings = SgdSettings { momentum: 0.9, weight_decay: 0.0, weight_decay_fast: 0.0, nesterov: false };
    let sgd = Sgd::new(&network, settings);
    Training::new(network, sgd)
}

fn inputs(text: &str) -> toml::Table {
    toml::from_str(text).unwrap()
}

#[test]
fn other_settings_and_other_data_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let was = "network = 'resnet-8'\n[teacher]\nlr = 0.1\n['data found']\n'sha256 of train.parquet' = 'aa'";
    let is = "network = 'resnet-8'\n[teacher]\nlr = 0.2\n['data found']\n'sha256 of train.parquet' = 'bb'";
    let of = |text| Checkpoints::new(folder.path().to_owned(), inputs(text));
    of(was).save(&training(1)).unwrap();
    let mut other = training(2);
    let error = of(is).restore(&mut other, &Device::Cpu, |_| ()).unwrap_err().to_string();
    for part in [
        "was begun with other settings or data; restore them, name another --out, or delete the folder",
        "teacher.lr: was 0.1, is 0.2",
        "data found.sha256 of train.parquet: was \"aa\", is \"bb\"",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("network:"), "{error}");
    assert_eq!(other.network.state().unwrap(), training(2).network.state().unwrap(), "nothing was loaded");
    assert!(of(was).restore(&mut other, &Device::Cpu, |_| ()).unwrap());
    assert_eq!(other.network.state().unwrap(), training(1).network.state().unwrap());
}

/// A student goes on with the teachers that it began with; a checkpoint of an earlier version does not say which these were.
#[test]
fn other_teachers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let of = |teachers: &[(&str, &str)]| {
        let teachers = teachers.iter().map(|(row, hash)| ((*row).to_owned(), (*hash).to_owned()));
        Checkpoints::new(folder.path().to_owned(), inputs("")).with_teachers(teachers.collect())
    };
    let restore = |checkpoints: Checkpoints| checkpoints.restore(&mut training(2), &Device::Cpu, |_| ());
    of(&[]).save(&training(1)).unwrap();
    assert!(restore(of(&[("teacher-1", "aa")])).unwrap());
    of(&[("teacher-1", "aa")]).save(&training(1)).unwrap();
    assert!(restore(of(&[("teacher-1", "aa")])).unwrap());
    let error = restore(of(&[("teacher-1", "bb")])).unwrap_err().to_string();
    assert!(error.contains("was begun with other teachers than those that are there now"), "{error}");
}
