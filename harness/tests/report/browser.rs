//! The page in a real browser: phone and desktop, light and dark.

use std::path::Path;

use crate::chromium::Chromium;
use crate::report;
use crate::require::available;

/// Gives what is wrong with the page, a sentence each.
const CHECK: &str = include_str!("check.js");

/// Ids that every report has.
const FIGURES: [&str; 9] = [
    "confidence",
    "diversity-teachers",
    "diversity-students",
    "transfer",
    "jacobian",
    "reliability",
    "curves",
    "cost",
    "dee",
];

#[test]
fn the_page_is_sound_on_phone_and_desktop_in_light_and_dark() {
    let Some(mut browser) = available("chromium", Chromium::start()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    report(&["-o", page.to_str().unwrap()]);
    for size in [(375, 812), (1280, 900)] {
        for scheme in ["light", "dark"] {
            browser.open(&page, size, scheme);
            let found = browser.evaluate(CHECK);
            assert_eq!(found["problems"], serde_json::json!([]), "{size:?} {scheme}");
            assert_eq!(found["figures"], serde_json::json!(FIGURES), "{size:?} {scheme}");
            assert_eq!(found["dark"], scheme == "dark", "{size:?} {scheme}");
            assert_eq!(browser.complaints(), [""; 0], "{size:?} {scheme}");
        }
    }
}

/// What a browser leaves of a sheet of A4 and of a letter is 718 and 740 px wide: nothing is cut off there.
#[test]
fn nothing_is_wider_than_a_printed_page() {
    let Some(mut browser) = available("chromium", Chromium::start()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    report(&["-o", page.to_str().unwrap()]);
    browser.open(&page, (718, 1000), "light");
    browser.show_as("print", "light");
    let wide = "[...document.querySelectorAll('table, pre, svg, p, dl')].map((of) => [of, of.getBoundingClientRect().right])\
                .filter(([of, right]) => Math.max(right, of.tagName === 'PRE' ? of.scrollWidth : 0) > innerWidth)\
                .map(([of, right]) => `${of.tagName} ${of.className} ends at ${right}`)";
    assert_eq!(browser.evaluate(wide), serde_json::json!([]));
    // On a desktop too the comparison is seen at once.
    browser.open(&page, (1280, 900), "light");
    let hidden = "[...document.querySelectorAll('.wide')].filter((box) => box.scrollWidth > box.clientWidth)\
                  .map((box) => `${box.ariaLabel}: ${box.scrollWidth} of ${box.clientWidth}`)";
    assert_eq!(browser.evaluate(hidden), serde_json::json!([]));
}

/// The check above can fail: each planted fault is found.
#[test]
fn faults_of_a_page_are_found() {
    let Some(mut browser) = available("chromium", Chromium::start()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let svg = |inside: &str| format!("<svg viewBox='0 0 100 50' width='100' height='50'>{inside}</svg>");
    let texts = "<text x='10' y='20' font-size='10'>one</text><text x='12' y='20' font-size='10'>two</text>";
    let outside = "<text x='95' y='20' font-size='10'>outside</text>";
    let faint = "<text x='5' y='20' font-size='10' fill='#eee'>faint</text>";
    for (marks, inside, style, expected) in [
        (0, svg(texts), "", "overlap"),
        (0, svg(outside), "", "leaves"),
        (0, svg(faint), "", "contrast"),
        (
            1,
            svg("<rect class='mark' width='9' height='9'/><rect class='mark' width='9' height='9'/>"),
            "",
            "2 marks",
        ),
        (1, svg("<rect class='mark' width='0' height='0'/>"), "", "empty"),
        (
            1,
            svg("<g class='c1'><rect class='mark c1' width='9' height='9' style='color:red'/></g>"),
            "",
            "wrong color",
        ),
        (0, String::new(), "display:none", "not visible"),
        (0, "<p style='width:3000px'>wide</p>".to_owned(), "", "wider"),
    ] {
        let page = folder.path().join("page.html");
        let html = format!(
            "<!DOCTYPE html><meta charset=utf-8><body style='background:#fff;color:#000'>\
             <figure id=one data-marks={marks} style='{style}'>{inside}</figure><script>console.error('planted')</script>"
        );
        std::fs::write(&page, html).unwrap();
        let problems = check(&mut browser, &page);
        assert!(problems.contains(expected), "{expected}: {problems}");
        assert!(browser.complaints().iter().any(|line| line.contains("planted")));
    }
}

fn check(browser: &mut Chromium, page: &Path) -> String {
    browser.open(page, (375, 812), "light");
    browser.evaluate(CHECK)["problems"].to_string()
}
