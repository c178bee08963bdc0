//! What goes wrong while runs train, and what is left of them: kills, signals, time limits, other processes, full disks, damaged
//! checkpoints, losses that are not finite. Everything ends in the bytes of an undisturbed run or in one clear error.
//!
//! Tests that need something of the system print `skipped: ..` where it is missing; `DIVKD_REQUIRE=tmpfs,user` turns that
//! into a failure for the things that it names.

mod begun;
mod carried;
mod checkpoints;
mod disk;
mod fuzz;
mod kills;
mod limits;
mod mixed;
mod numerics;
mod packed;
mod pieces;
mod require;
mod sharing;
mod signals;
mod support;
mod together;
