//! What the command writes, and what it says where it cannot.

use std::fs;
use std::path::Path;

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

/// The committed page, figures and tables are made from the committed records by this version of the program.
#[test]
fn what_is_committed_beside_the_records_is_up_to_date() {
    let folder = tempfile::tempdir().unwrap();
    let (made, records) = (folder.path(), crate::records());
    report(&["-o", made.join("report.html").to_str().unwrap(), "--figures", made.to_str().unwrap()]);
    let same = |path: &Path, committed: &Path| {
        assert!(
            fs::read(path).unwrap() == fs::read(committed).unwrap(),
            "{} is not what the records give: `just report-committed`, and commit what changes",
            committed.display()
        );
    };
    let mut figures = 0;
    for entry in fs::read_dir(made).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap();
        match name.to_str().unwrap() {
            "report.html" => same(&path, &records.join(name)),
            _ => {
                // Pixels may be rounded otherwise on another kind of processor.
                if path.extension().is_none_or(|ending| ending != "png") {
                    same(&path, &records.join("figures").join(name));
                }
                figures += 1;
            }
        }
    }
    assert_eq!(
        figures,
        fs::read_dir(records.join("figures")).unwrap().count(),
        "no figure is of another time"
    );
    for (name, format) in [("table.csv", "csv"), ("table.md", "md")] {
        let output = divkd(&["table", records.to_str().unwrap(), "--format", format]);
        fs::write(made.join(name), output.stdout).unwrap();
        same(&made.join(name), &records.join(name));
    }
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
