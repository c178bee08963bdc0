//! The binary's exit codes, its suggestions, and the plan of `--dry-run`.

mod program;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, Stdio};

use results::record::{Predictions, Split};

use program::{divkd, text};

#[test]
fn wrong_names_exit_with_64_and_the_nearest_right_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine.toml"), "").unwrap();
    for (args, expected) in [
        (vec!["reproduce", "quik"], "did you mean `quick`?"),
        (vec!["reproduce", "mine.toml"], "it has none: begin with a copy of one of harness/experiments"),
        (vec!["reproduce", "quick", "--preset", "smok"], "did you mean `smoke`?"),
        (vec!["reproduce", "quick", "--methods", "be-ods"], "did you mean `be-kd-ods`?"),
        (vec!["reproduce", "quick", "--methods", "de-4"], "did you mean `teacher`?"),
        (
            vec!["reproduce", "quick", "--members", "1", "--methods", "latent-be-tdiv-sdiv", "--dry-run"],
            "latent-be-tdiv-sdiv is defined for 2 members or more, and they are 1: raise --members",
        ),
        (
            vec!["reproduce", "quick", "--seeds", "3", "--set", "seeds=2"],
            "--set seeds=2 beside --seeds: leave out one",
        ),
        (vec!["data", "verify", "synthetic"], "it is made from a seed and has no files"),
        (vec!["data", "fetch", "cifar10", "--data-dir", "x"], "use `divkd data verify cifar10 --data-dir"),
        (vec!["check", "--speed", "--device", "cuda:0"], "leave out --device cuda:0"),
        (vec!["plan", "quick", "--mtbf", "1ms"], "expected a minute or more, such as 24h or 30days"),
        (vec!["plan", "quick", "--mtbf", "x"], "expected a time such as 90s, 24h or 30days"),
        (vec!["reproduce", "quick", "--set", "network=resnet-9"], "did you mean `resnet-8`?"),
        (vec!["reproduce", "quick", "--set", "preset=smoke"], "name it by --preset"),
        (
            vec!["reproduce", "cifar10", "--set", "method.latent-be.tau=4.0"],
            "cifar10 has no table [method.latent-be]: add it to a copy of its file",
        ),
        (vec!["reproduce", "quick", "--device", "cudda:0"], "did you mean `cuda:0`?"),
        (vec!["reproduce", "quick", "--sed", "1"], "a similar argument exists: '--seeds'"),
        (vec!["tabel"], "similar subcommands exist: 'cancel', 'table'"),
        (vec!["table", "--format", "latx"], "did you mean `latex`?"),
        (vec!["data", "verify", "cifar-10"], "did you mean `cifar10`?"),
        (vec!["import", "x.pth.tar", "--network", "wrn-28-1O", "--out", "y"], "did you mean `wrn-28-10`?"),
        (vec!["reproduce", "quick", "--time-limit", "9"], "such as 90s, 9m or 1h30m: time unit needed"),
        (vec!["reproduce", "quick", "--threads", "0"], "0 is not in 1..=65535"),
        (vec!["reproduce", "quick", "--devices", "cuda:0,cuda"], "names cuda:0 twice"),
        (vec!["reproduce", "quick", "--devices", "cudda:0"], "did you mean `cuda:0`?"),
        (vec!["reproduce", "quick", "--devices", "cpu", "--device", "cpu"], "cannot be used with"),
        (vec!["bench", "step", "--batch", "99999999999999"], "is not in 1..=65536"),
        (vec!["bench", "step", "--members", "99999999999"], "is not in 1..=1000"),
        (vec!["bench", "step", "--steps", "18446744073709551615"], "is not in 1..=1000000"),
        (vec!["reproduce", "quick", "--concurrent-runs", "0"], "0 is not in 1..=256"),
        (
            vec!["reproduce", "quick", "--concurrent-runs", "2", "--executor", "none"],
            "belong to --executor local",
        ),
        (vec!["reproduce", "quick", "--devices", "cpu", "--executor", "slurm"], "belong to --executor local"),
        (vec!["reproduce", "quick", "--executor", "slurm", "--time-limit", "9m"], "Slurm's own limit does"),
        (
            vec!["reproduce", "quick", "--executor", "slurm", "--dry-run", "--device", "cdua:0"],
            "did you mean `cuda:0`?",
        ),
        (
            vec!["reproduce", "quick", "--executor", "slurm", "--dry-run", "--precision", "bf61"],
            "did you mean `bf16`?",
        ),
        (
            vec!["reproduce", "quick", "--executor", "none", "--dry-run", "--device", "nonsense"],
            "unknown device `nonsense`",
        ),
        (vec!["run", "quick", "be", "--seed", "1", "--precision", "f23"], "did you mean `f32`?"),
        (vec!["reproduce", "quick", "--data-dir", "nowhere"], "images are made from a seed"),
        (vec!["reproduce", "nope.toml"], "cannot read experiment nope.toml: "),
        (vec!["bench", "step", "--network", "resnet-33"], "did you mean `resnet-32`?"),
        (vec!["reproduce", "mine"], "did you mean the file mine.toml?"),
        (
            vec!["reproduce", "quick", "--set", "teacher.epochs=10"],
            "`teacher.schedule.milestones` must end by epoch 10 (teacher.epochs), found 27",
        ),
    ] {
        let output = divkd(folder.path(), &args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{args:?}: {}", text(&output.stdout));
    }
}

/// Every command that reads takes either, so that it is soon mistaken: a plan would begin anew within its own folder.
#[test]
fn an_experiments_folder_is_no_place_for_experiments() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("runs/quick-smoke");
    std::fs::create_dir_all(&inner).unwrap();
    std::fs::write(inner.join("plan.toml"), "").unwrap();
    let args = ["reproduce", "quick", "--preset", "smoke", "--dry-run", "--out", "runs/quick-smoke"];
    let output = divkd(folder.path(), &args);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{stderr}");
    assert!(stderr.contains("name the one that it lies in, --out runs"), "{stderr}");
}

/// 200 bytes declare a million members, or classes: no network of that size is made.
#[test]
fn a_small_file_makes_no_large_network() {
    let folder = tempfile::tempdir().unwrap();
    for (name, what) in [("classifier.fc.weight", "classes"), ("classifier.fc.alpha_be", "members")] {
        let tensor = |name: &str, rows: usize| {
            format!("\"{name}\":{{\"dtype\":\"F32\",\"shape\":[{rows},0],\"data_offsets\":[0,0]}}")
        };
        let mut tensors = vec![tensor(name, 1 << 20)];
        if name != "classifier.fc.weight" {
            tensors.push(tensor("classifier.fc.weight", 10));
        }
        let header = format!("{{{}}}", tensors.join(","));
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
        std::fs::write(folder.path().join("huge.safetensors"), bytes).unwrap();
        let args = ["import", "huge.safetensors", "--network", "wrn-28-10", "--out", "model.safetensors"];
        let output = divkd(folder.path(), &args);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&format!("huge.safetensors: 1048576 {what}: expected 1 to ")), "{stderr}");
    }
}

/// Before anything is timed, trained or written: what cannot be cut, why, and what can.
#[test]
fn a_batch_that_cannot_be_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let full = ["reproduce", "cifar100", "--methods", "be-kd", "--device", "cpu", "--micro-batch"];
    let small = ["reproduce", "quick", "--preset", "smoke", "--device", "cpu", "--micro-batch"];
    for (args, most, expected) in [
        // Teachers have batches of 256, students of 64.
        (
            &full[..],
            "63",
            "bn_groups = 4 makes groups of 64 images of the 256 of teacher; the smallest that works for this plan is --micro-batch 64",
        ),
        (
            &full,
            "15",
            "bn_groups = 4 makes groups of 64 images of the 256 of teacher; the smallest that works for this plan is --micro-batch 64",
        ),
        (
            &small,
            "4",
            "bn_groups = 1 makes groups of 8 images of the 8 of teacher; the smallest that works for this plan is --micro-batch 8",
        ),
    ] {
        let output = divkd(folder.path(), &[args, &[most]].concat());
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        let start = format!("--micro-batch {most}: a batch is cut at batch-norm groups only, and {expected}");
        assert!(stderr.contains(&start), "{stderr}");
    }
    let one = ["run", "cifar100", "teacher-1", "--seed", "1", "--device", "cpu", "--micro-batch", "63"];
    let stderr = text(&divkd(folder.path(), &one).stderr);
    assert!(stderr.contains("the smallest that works for this plan is --micro-batch 64"), "{stderr}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let bench = [
        "bench",
        "step",
        "--network",
        "resnet-8",
        "--image",
        "8",
        "--methods",
        "teacher",
        "--batch",
        "8",
        "--steps",
        "1",
        "--warmup",
        "0",
        "--device",
        "cpu",
        "--json",
        "--micro-batch",
        "4",
    ];
    let stderr = text(&divkd(folder.path(), &bench).stderr);
    assert!(stderr.contains("teacher, bn_groups = 1: ") && stderr.contains("more than 4"), "{stderr}");
}

/// Jobs have the threads that the command line names; what no job can do is refused.
#[test]
fn options_reach_the_job_scripts() {
    let folder = tempfile::tempdir().unwrap();
    let args =
        ["reproduce", "quick", "--methods", "be", "--executor", "slurm", "--dry-run", "--device", "cpu"];
    let scripts = divkd(folder.path(), &[&args[..], &["--threads", "3"]].concat());
    assert_eq!(scripts.status.code(), Some(0), "{}", text(&scripts.stderr));
    let stdout = text(&scripts.stdout);
    for line in [" run quick ", " reproduce quick "] {
        let line = stdout.lines().find(|found| found.contains(line)).unwrap();
        assert!(line.contains(" --threads 3 "), "{line}");
    }
    let refused = divkd(folder.path(), &[&args[..], &["--precision", "bf16"]].concat());
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("the CPU computes in f32 alone"), "{}", text(&refused.stderr));
    let unwritable = Command::new(env!("CARGO_BIN_EXE_divkd"))
        .args(args)
        .args([OsStr::new("--out"), OsStr::from_bytes(b"runs-\xff")])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(unwritable.status.code(), Some(1));
    let stderr = text(&unwritable.stderr);
    assert!(stderr.contains("a job's script is text in UTF-8; rename it"), "{stderr}");
}

/// Messages that name what is missing or wrong, and where.
#[test]
fn failures_name_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let logits = |value: f32| Split { logits: vec![0.5, value], labels: vec![0], m: 1, n: 1, k: 2 };
    let write = |name: &str, val: f32, test: f32| {
        Predictions { val: logits(val), test: logits(test) }.write(&folder.path().join(name)).unwrap();
    };
    write("val.safetensors", f32::NAN, 0.0);
    write("test.safetensors", 0.0, f32::INFINITY);
    let none = ["reproduce", "quick", "--preset", "smoke", "--methods", "be", "--executor", "none"];
    for (args, expected) in [
        (&["eval", "val.safetensors"][..], "val.safetensors, validation images: logit of member 0"),
        (&["eval", "test.safetensors"], "test.safetensors, test images: logit of member 0"),
        (&none, "1 of 1 runs are missing:\n  be/seed-1: nobody has begun it"),
        (&["data", "verify", "cifar10", "--data-dir", "nowhere"], "copy them into nowhere again"),
    ] {
        let output = divkd(folder.path(), args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains(expected), "{args:?}: {}", text(&output.stderr));
    }
}

/// Standard output on a full disk is an error like others; what is left beside the records is there all the same.
#[test]
fn a_full_standard_output_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let reproduce = ["reproduce", "quick", "--preset", "smoke", "--methods", "be", "--device", "cpu"];
    for args in [&["list"][..], &reproduce] {
        let Ok(full) = std::fs::File::create("/dev/full") else { return println!("skipped: no /dev/full") };
        let mut command = Command::new(env!("CARGO_BIN_EXE_divkd"));
        command.args(args).current_dir(folder.path()).stdout(full).stderr(Stdio::piped());
        let output = command.output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("error: cannot write to standard output: No space left"), "{args:?}: {said}");
    }
    for name in ["table.csv", "table.md", "report.html"] {
        assert!(folder.path().join("runs/quick-smoke").join(name).is_file(), "{name}");
    }
}

/// Four teachers and two students of 3 epochs of 12 steps of a quarter of a second: 54 s.
#[test]
fn a_plan_of_given_times_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let plan = |steps: &[&str]| {
        let args = ["plan", "quick", "--preset", "smoke", "--methods", "be,kd", "--device", "cpu"];
        let output = divkd(folder.path(), &[&args[..], steps].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).lines().find(|line| line.starts_with("estimated cost")).unwrap().to_owned()
    };
    let all = ["--step", "be=0.25", "--step", "kd=0.25", "--step", "teacher=0.25"];
    let expected = "estimated cost: 54 s (by the times of steps that were given; validation not counted)";
    assert_eq!(plan(&all), expected);
    assert!(plan(&all[..4]).contains("(a few steps of each kind were timed, or their time was given; "));
    assert!(plan(&[]).contains("(a few steps of each kind were timed; "));
}

#[test]
fn failures_exit_with_1() {
    let folder = tempfile::tempdir().unwrap();
    for args in [vec!["table", "nowhere"], vec!["eval", "nowhere"], vec!["export", "nowhere", "--out", "x"]] {
        let output = divkd(folder.path(), &args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(text(&output.stderr).contains("nowhere"), "{args:?}: {}", text(&output.stderr));
    }
}

#[test]
fn list_names_everything() {
    let folder = tempfile::tempdir().unwrap();
    let output = divkd(folder.path(), &["list"]);
    assert_eq!(output.status.code(), Some(0));
    let stdout = text(&output.stdout);
    for name in ["be-kd-conf-ods", "wrn-28-10", "tiny-imagenet", "quick", "laptop, smoke (default laptop)"] {
        assert!(stdout.contains(name), "{name}: {stdout}");
    }
}

#[test]
fn a_dry_run_prints_the_plan_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let args =
        ["reproduce", "quick", "--preset", "smoke", "--seeds", "2", "--teachers", "5", "--device", "cpu"];
    let output = divkd(folder.path(), &[&args[..], &["--threads", "2", "--dry-run"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    // Times differ from machine to machine, and with them the widths of columns.
    insta::with_settings!({filters => vec![
        (r"\d+(\.\d+)? (s|min|h|days)\b", "[time]"),
        (r" +", " "),
    ]}, {
        insta::assert_snapshot!(text(&output.stdout));
    });
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// On one device the estimate is that of one run at a time, and says so.
#[test]
fn a_dry_run_says_what_is_not_estimated() {
    let folder = tempfile::tempdir().unwrap();
    let of = |options: &[&str]| {
        let args = ["reproduce", "quick", "--preset", "smoke", "--device", "cpu", "--dry-run"];
        let output = divkd(folder.path(), &[&args[..], options].concat());
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout).lines().last().unwrap().to_owned()
    };
    assert!(of(&[]).starts_with("estimated cost: "));
    for (options, who) in [
        (&["--concurrent-runs", "3", "--concurrent-teachers", "2"][..], "3 runs"),
        (&["--concurrent-teachers", "4"], "4 teachers"),
        (&["--concurrent-runs", "2", "--concurrent-teachers", "4"], "2 runs or 4 teachers"),
    ] {
        let expected =
            format!("up to {who} at a time on a device: what that gains or costs is not estimated");
        assert_eq!(of(options), expected);
    }
}

/// What the preset's file says: 6 epochs, 1.5e16 operations for three seeds.
#[test]
fn paper_short_costs_what_its_file_says() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["reproduce", "cifar10", "--preset", "paper-short", "--device", "cpu", "--threads", "2"];
    let output = divkd(folder.path(), &[&args[..], &["--dry-run"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    insta::with_settings!({filters => vec![
        (r"\d+(\.\d+)? (s|min|h|days)\b", "[time]"),
        (r" +", " "),
    ]}, {
        insta::assert_snapshot!(text(&output.stdout));
    });
}

/// A page for each command, as it is without a terminal.
#[test]
fn help_of_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let mut pages = String::new();
    for command in [
        "",
        "reproduce",
        "run",
        "status",
        "cancel",
        "plan",
        "table",
        "analyze",
        "analyze confidence",
        "analyze diversity",
        "analyze transfer",
        "analyze jacobian",
        "analyze remainder",
        "analyze compare",
        "list",
        "data",
        "data verify",
        "data fetch",
        "import",
        "export",
        "predict",
        "eval",
        "keep",
        "pack",
        "unpack",
        "oracle",
        "check",
        "bench",
        "bench step",
        "bench epochs",
    ] {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("--help");
        let output = divkd(folder.path(), &args);
        assert_eq!(output.status.code(), Some(0), "{command}");
        pages += &format!("$ divkd {}\n{}\n", args.join(" "), text(&output.stdout));
    }
    insta::assert_snapshot!(pages);
}

#[test]
fn list_is_everything_there_is() {
    let folder = tempfile::tempdir().unwrap();
    insta::assert_snapshot!(text(&divkd(folder.path(), &["list"]).stdout));
}

#[test]
fn common_mistakes_read_like_this() {
    let folder = tempfile::tempdir().unwrap();
    let mut messages = String::new();
    for args in [
        &["reproduce", "quik"][..],
        &["reproduce", "quick", "--preset", "smok"],
        &["reproduce", "quick", "--methods", "be-ods"],
        &["reproduce", "cifar10", "--methods", "latent-be"],
        &["table", "nowhere"],
        &["analyze", "transfer", "nowhere"],
        &["analyze", "figure-1"],
        &["check", "--golden"],
        &["check", "--bless"],
    ] {
        let output = divkd(folder.path(), args);
        let code = output.status.code().unwrap();
        messages += &format!("$ divkd {} [{code}]\n{}\n", args.join(" "), text(&output.stderr));
    }
    insta::assert_snapshot!(messages);
}
