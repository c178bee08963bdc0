//! Tests of the whole crate, in one binary: files made on the spot, a server on this machine, no network, no real data set.

mod decode;
mod folder;
mod hub;
mod properties;
mod support;
mod table;
