//! Full, read-only and forbidden folders.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::require::available;
use crate::support::{TEACHER, checkpoints, command, ended, leftovers, results, run};

/// A file system in memory of a chosen size.
struct Tmpfs {
    folder: tempfile::TempDir,
}

impl Tmpfs {
    fn mount(options: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = folder.path();
        mount(&["-t", "tmpfs", "-o", options, "tmpfs"], path)?;
        Ok(Self { folder })
    }

    fn remount(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}")], self.folder.path()).unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.folder.path()).output();
    }
}

fn mount(arguments: &[&str], folder: &Path) -> Result<(), String> {
    let output =
        Command::new("mount").args(arguments).arg(folder).output().map_err(|e| format!("mount: {e}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
    }
}

/// A checkpoint takes about 1 MB: the disk is full at the second, the third, and at the record (which needs more files
/// than are left). With space made, the same command ends in the bytes of an undisturbed run.
#[test]
fn a_full_disk_costs_nothing_but_the_wait() {
    let whole = tempfile::tempdir().unwrap();
    let few = [&TEACHER[..], &["--set", "teacher.epochs=5"]].concat();
    run(whole.path(), &few, 0);
    for (options, kept, what) in [
        ("size=1300k", 1, "earlier checkpoints are kept: make space "),
        ("size=2300k", 2, "earlier checkpoints are kept: make space "),
        ("size=64m,nr_inodes=16", 2, "cannot write the record of teacher-1/seed-1"),
    ] {
        let Some(disk) = available("tmpfs", Tmpfs::mount(options)) else { return };
        let folder = disk.folder.path();
        for _ in 0..2 {
            let stderr = run(folder, &few, 1);
            assert!(
                stderr.contains(what) && stderr.contains("No space left on device"),
                "{options}: {stderr}"
            );
            assert!(stderr.contains("then start the same command again"), "{stderr}");
            assert_eq!(checkpoints(folder).len(), kept, "{options}");
        }
        disk.remount("size=64m,nr_inodes=1000");
        let stderr = run(folder, &few, 0);
        assert!(stderr.contains("resumed teacher-1/seed-1 "), "{stderr}");
        assert!(results(folder) == results(whole.path()), "{options}");
        assert_eq!(leftovers(folder), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_read_only_disk_is_named_before_anything_is_trained() {
    let Some(disk) = available("tmpfs", Tmpfs::mount("size=1m")) else { return };
    disk.remount("ro");
    let stderr = run(disk.folder.path(), &TEACHER, 1);
    assert!(stderr.contains("cannot claim runs/quick-smoke/teacher-1/.tmp-claim-seed-1"), "{stderr}");
    assert!(stderr.contains("Read-only file system") && stderr.contains("name another folder"), "{stderr}");
    assert!(!stderr.contains("epoch 1/"), "{stderr}");
}

#[test]
fn a_forbidden_folder_is_named_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(folder.path(), &[&TEACHER[..], &["--out", "forbidden"]].concat());
    let Some(()) = available("user", forbid(&folder.path().join("forbidden"), folder.path(), &mut command))
    else {
        return;
    };
    let stderr = ended(command.output().unwrap(), 1);
    assert!(stderr.contains("cannot claim forbidden/quick-smoke/teacher-1/.tmp-claim-seed-1"), "{stderr}");
    assert!(stderr.contains("Permission denied"), "{stderr}");
}

/// A job of a scheduler, which exit code 75 would put back into the queue, again and again.
/// Neither a pack nor what it is unpacked into: the same command does it once there is space.
#[test]
fn a_full_disk_is_no_half_packed_folder() {
    let Some(disk) = available("tmpfs", Tmpfs::mount("size=64k")) else { return };
    let Some(small) = available("tmpfs", Tmpfs::mount("size=64k")) else { return };
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), &["--methods", "teacher", "--members", "1"], 0);
    let packed = disk.folder.path().join("packed");
    let divkd = |args: &[&str], code: i32| {
        let command =
            Command::new(env!("CARGO_BIN_EXE_divkd")).args(args).current_dir(folder.path()).output();
        ended(command.unwrap(), code)
    };
    let pack = ["pack", "runs", "--out", packed.to_str().unwrap()];
    let stderr = divkd(&pack, 1);
    assert!(
        stderr.contains("nothing was packed: make space, or name a folder elsewhere: cannot write "),
        "{stderr}"
    );
    assert!(stderr.contains("No space left on device"), "{stderr}");
    disk.remount("size=64m");
    divkd(&pack, 0);

    let unpack = ["unpack", packed.to_str().unwrap(), "--out", small.folder.path().to_str().unwrap()];
    let stderr = divkd(&unpack, 1);
    assert!(
        stderr.contains("not all was unpacked; what is there is whole, and the same command goes on"),
        "{stderr}"
    );
    assert!(stderr.contains("cannot write ") && stderr.contains("No space left on device"), "{stderr}");
    small.remount("size=64m");
    divkd(&unpack, 0);
    let of =
        |runs: &Path| std::fs::read(runs.join("quick-smoke/teacher-1/seed-1/model.safetensors")).unwrap();
    assert!(of(small.folder.path()) == of(&folder.path().join("runs")));
}

#[test]
fn a_folder_that_cannot_be_made_is_no_reason_to_try_again() {
    let folder = tempfile::tempdir().unwrap();
    let run = ["run", "quick", "teacher-1", "--seed", "1", "--preset", "smoke", "--members", "1"];
    let output = Command::new(env!("CARGO_BIN_EXE_divkd"))
        .args(run)
        .args(["--epochs", "1", "--device", "cpu", "--out", "/dev/null/runs"])
        .current_dir(folder.path())
        .env("SLURM_JOB_ID", "7")
        .output()
        .unwrap();
    let stderr = ended(output, 1);
    assert!(stderr.contains("cannot claim /dev/null/runs/quick-smoke/teacher-1/"), "{stderr}");
    assert!(stderr.contains("Not a directory"), "{stderr}");
}

/// Makes a folder that the command may not write to. Permissions do not bind root: there the command becomes nobody.
#[cfg(unix)]
fn forbid(folder: &Path, parent: &Path, command: &mut Command) -> Result<(), String> {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;

    let may = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    fs::create_dir(folder).and_then(|()| may(folder, 0o555)).map_err(|error| error.to_string())?;
    let owner = fs::metadata(folder).map_err(|error| error.to_string())?.uid();
    if owner == 0 {
        may(parent, 0o755).map_err(|error| error.to_string())?;
        const NOBODY: u32 = 65534;
        let can_run = Command::new(env!("CARGO_BIN_EXE_divkd")).arg("--version").uid(NOBODY).output();
        can_run.map_err(|error| format!("the binary cannot be run as nobody: {error}"))?;
        command.uid(NOBODY);
    }
    Ok(())
}

#[cfg(not(unix))]
fn forbid(_: &Path, _: &Path, _: &mut Command) -> Result<(), String> {
    Err("permissions of this system".to_owned())
}
