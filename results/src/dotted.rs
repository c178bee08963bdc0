//! Configurations by dotted keys, such as `teacher.lr`.

use toml::{Table, Value};

/// Adds every value of `table` under its dotted key, with `above` before it.
pub(crate) fn keys(table: &Table, above: &str, found: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let key = format!("{above}{key}");
        match value {
            Value::Table(below) => keys(below, &format!("{key}."), found),
            _ => found.push((key, value.clone())),
        }
    }
}

/// The value of a dotted key.
pub(crate) fn at<'a>(config: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((table, rest)) => at(config.get(table)?.as_table()?, rest),
        None => config.get(key),
    }
}
