//! What the command writes, and what it says where it cannot.

use std::fs;

use crate::{divkd, report};

#[test]
fn the_page_and_the_figures_come_out_alike_twice() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for name in ["a", "b"] {
        report(&["-o", &path(&format!("{name}.html")), "--figures", &path(name)]);
    }
    assert_eq!(fs::read(path("a.html")).unwrap(), fs::read(path("b.html")).unwrap());
    let mut compared = 0;
    for entry in fs::read_dir(path("a")).unwrap() {
        let name = entry.unwrap().file_name();
        assert_eq!(
            fs::read(folder.path().join("a").join(&name)).unwrap(),
            fs::read(folder.path().join("b").join(&name)).unwrap(),
            "{name:?}"
        );
        assert!(!name.to_string_lossy().starts_with('.'), "a draft is left: {name:?}");
        compared += 1;
    }
    // At least the figures that predictions alone give, as SVG and PNG, and three tables.
    assert!(compared >= 2 * 6 + 3, "{compared}");
}

/// The committed page is made from the committed records by this version of the program.
#[test]
fn the_committed_page_is_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    report(&["-o", page.to_str().unwrap()]);
    let committed = crate::records().join("report.html");
    assert!(
        fs::read(&page).unwrap() == fs::read(&committed).unwrap(),
        "{} is not what the records give: `just report-committed`, and commit what changes",
        committed.display()
    );
}

#[test]
fn failures_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |args: &[&str], expected: &str| {
        let output = divkd(args);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    };
    let empty = folder.path().to_str().unwrap();
    fails(&["report", empty], "no records under");
    let records = crate::records();
    let records = records.to_str().unwrap();
    // A file stands where a folder should be.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let page = file.join("report.html");
    fails(&["report", records, "-o", page.to_str().unwrap()], "file");
    let out = folder.path().join("report.html");
    fails(
        &["report", records, "-o", out.to_str().unwrap(), "--figures", file.to_str().unwrap()],
        file.to_str().unwrap(),
    );
}
