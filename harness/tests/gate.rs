//! `divkd check --golden` from the outside: it passes on its own numbers, and a planted regression makes it fail.

mod program;

use program::{divkd, text};

/// Two rows are enough, and quick.
const ROWS: [&str; 4] = ["check", "--golden", "--set", "methods=[\"teacher\", \"be-kd\"]"];

/// Without tau^2 the loss (1 - alpha) CE + alpha tau^2 KL is c ((1 - a) CE + a tau^2 KL) with c = 1 - alpha + alpha / tau^2
/// and a = alpha / (c tau^2). SGD with c times the loss is SGD with c times the rate and 1/c times the decay, so settings
/// alone plant the slip: alpha 0.9, tau 4, rates 0.005 and 0.0025, decay 5e-4.
fn without_tau_squared() -> Vec<String> {
    let (alpha, tau_squared) = (0.9, 16.0);
    let c = 1.0 - alpha + alpha / tau_squared;
    vec![
        format!("method.be-kd.alpha={}", alpha / (c * tau_squared)),
        format!("student.lr={}", 0.005 * c),
        format!("student.lr_fast={}", 0.0025 * c),
        format!("student.weight_decay={}", 5e-4 / c),
    ]
}

#[test]
fn a_dropped_tau_squared_and_three_percent_on_a_metric_are_caught() {
    let folder = tempfile::tempdir().unwrap();
    let missing = divkd(folder.path(), &["check", "--golden"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("--bless"), "{}", text(&missing.stderr));

    let blessed = divkd(folder.path(), &[&ROWS[..], &["--bless"]].concat());
    assert_eq!(blessed.status.code(), Some(0), "{}", text(&blessed.stderr));
    let same = divkd(folder.path(), &[&ROWS[..], &["--threads", "3"]].concat());
    assert_eq!(same.status.code(), Some(0), "{}", text(&same.stdout));
    assert!(text(&same.stderr).contains("; 3 threads"), "{}", text(&same.stderr));
    assert!(text(&same.stdout).contains("check: pass"), "{}", text(&same.stdout));

    let planted = without_tau_squared();
    let planted: Vec<&str> = planted.iter().flat_map(|set| ["--set", set.as_str()]).collect();
    let caught = divkd(folder.path(), &[&ROWS[..], &planted].concat());
    assert_eq!(caught.status.code(), Some(1), "{}", text(&caught.stdout));
    let stdout = text(&caught.stdout);
    assert!(stdout.contains("be-kd nll") && !stdout.contains("de-1"), "{stdout}");

    // 3% on one number, on a machine of another class.
    let golden = folder.path().join("results/golden/quick-smoke");
    let path = golden.join("table.csv");
    let table = std::fs::read_to_string(&path).unwrap();
    let nll = table.lines().find(|line| line.contains(",be-kd,")).unwrap().split(',').nth(4).unwrap();
    let moved = (nll.parse::<f64>().unwrap() * 1.03).to_string();
    std::fs::write(&path, table.replacen(nll, &moved, 1)).unwrap();
    std::fs::write(golden.join("machine.txt"), "elsewhere\n").unwrap();
    let caught = divkd(folder.path(), &ROWS);
    assert_eq!(caught.status.code(), Some(1), "{}", text(&caught.stdout));
    assert!(text(&caught.stdout).contains("fail          be-kd nll"), "{}", text(&caught.stdout));
}

#[test]
fn wrong_options_exit_with_64_and_missing_records_with_1() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["check", "--bless"][..],
        &["check", "runs", "--golden"],
        &["check", "--set", "seeds=1"],
        &["check", "runs", "--set", "seeds=1"],
        &["check", "--speed", "--set", "seeds=1"],
        &["check", "runs", "--speed"],
        &["check", "--speed", "--against", "earlier"],
        &["check", "runs", "--device", "cpu"],
    ] {
        let output = divkd(folder.path(), args);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {}", text(&output.stderr));
    }
    let output = divkd(folder.path(), &["check", "nowhere"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nowhere"), "{}", text(&output.stderr));
}
