//! TensorFlow's `Event` message, as far as scalars need it (`event.proto`, `summary.proto`).

use prost::Message;

/// What an event file begins with.
const VERSION: &str = "brain.Event:2";

/// One event: the file's version, or a scalar at a step.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Event {
    /// Seconds.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(string, optional, tag = "3")]
    file_version: Option<String>,
    #[prost(message, optional, tag = "5")]
    summary: Option<Summary>,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    /// Optional, so that a zero is written too.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

impl Event {
    /// The first event of a file.
    pub(super) fn version() -> Self {
        Self { wall_time: 0.0, step: 0, file_version: Some(VERSION.to_owned()), summary: None }
    }

    /// A value of `tag` at `step`.
    pub(super) fn scalar(wall_time: f64, step: i64, tag: &str, value: f64) -> Self {
        let value = Value { tag: tag.to_owned(), simple_value: Some(value as f32) };
        Self { wall_time, step, file_version: None, summary: Some(Summary { value: vec![value] }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand after protobuf's encoding: field 1 as a double (tag 0x09), field 2 as a varint (0x10), field 5 as a message
    /// (0x2a) of 10 bytes: one value (0x0a) of 8 bytes, its tag `a` (0x0a 0x01 0x61) and its float 0.0 (0x15).
    #[test]
    fn a_scalar_is_these_bytes() {
        let bytes = Event::scalar(1.0, 3, "a", 0.0).encode_to_vec();
        let mut expected = vec![0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x10, 3, 0x2a, 10, 0x0a, 8];
        expected.extend([0x0a, 1, b'a', 0x15, 0, 0, 0, 0]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn the_version_comes_first() {
        let bytes = Event::version().encode_to_vec();
        assert_eq!(bytes, [&[0x1a, 13], VERSION.as_bytes()].concat());
    }
}
