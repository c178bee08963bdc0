//! What the tests of this crate share.

mod files;
pub(crate) mod server;

pub(crate) use files::{Row, good_rows, png, tagged_planes, tagged_png, write_schema, write_table};
