//! Epoch times of records whose times are known.

use results::record::{LogRow, TIMING, TimingRow};
use results::sheet::render;
use results::table::Format;
use results::timing::sheets;

use crate::made::Made;

/// Two teachers with epochs of 1, 2 and 6 s and of 2, 2 and 2 s, a student with two of 4 s and 5 s, and one without times.
#[test]
fn epochs_by_hand_in_every_format() {
    let out = tempfile::tempdir().unwrap();
    for (row, seconds) in
        [("teacher-1", &[1.0, 2.0, 6.0][..]), ("teacher-2", &[2.0; 3]), ("be-kd", &[4.0, 5.0]), ("kd", &[])]
    {
        let record = Made::new("quick", "smoke", row, 1).write(out.path());
        let path = record.dir().join(TIMING);
        let times: Vec<TimingRow> = (1..)
            .zip(seconds)
            .map(|(epoch, &seconds)| TimingRow { epoch, seconds, images_per_s: 120.0 / seconds })
            .collect();
        match times.is_empty() {
            true => std::fs::remove_file(path).unwrap(),
            false => TimingRow::write_all(&times, &path).unwrap(),
        }
    }
    let sheets = sheets(out.path()).unwrap();
    let text: Vec<String> = Format::ALL.iter().map(|format| render(&sheets, *format)).collect();
    insta::assert_snapshot!(text.join("\n"));
}
