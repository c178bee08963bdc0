//! Things of the system that a test needs and not every machine has.

use std::io::Write as _;

/// What was found, or `None` after a line `skipped: <what>: <reason>`.
///
/// # Panics
/// Where it is missing and the environment variable `DIVKD_REQUIRE` names it.
pub(crate) fn available<T>(what: &str, found: Result<T, String>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(reason) => {
            let required = std::env::var("DIVKD_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name == what), "{what} is required: {reason}");
            // Past the capture of the test's output.
            let _ = writeln!(std::io::stderr(), "skipped: {what}: {reason}");
            None
        }
    }
}

#[test]
fn what_is_there_is_given_on() {
    assert_eq!(available("anything", Ok(3)), Some(3));
    assert_eq!(available::<u8>("an example of a skipped test", Err("it shows the line".to_owned())), None);
}
