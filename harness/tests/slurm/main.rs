//! The plan on a private Slurm of two nodes on this machine (`start-slurm.sh`): the bytes of a local run, whatever happens to
//! nodes, jobs and submitters. Skipped with a message where Slurm is absent; `DIVKD_REQUIRE=slurm` makes that a failure.

#![cfg(unix)]

mod cluster;
mod faults;
mod large;
#[path = "../faults/require.rs"]
mod require;
mod same;
mod submitters;
