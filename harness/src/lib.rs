//! The harness behind the binary `divkd`: configuration, plan, training, evaluation and commands.
//!
//! * [`experiments`], [`config`]: the experiment files and what they say once merged with a preset and the command line
//! * [`plan`]: the graph of runs, which of them are finished, and how long the others take
//! * [`train`]: one run from its seed to its record; [`checkpoint`](train::checkpoint) lets it go on after a crash
//! * [`analyze`]: what the figures need beyond predictions
//! * [`interrupt`]: what happens when the user or the scheduler asks it to stop
//! * [`pack`]: a plan's progress as one small folder
//! * [`slurm`]: the plan as jobs of a cluster
//! * [`status`]: what became of a plan's runs, from their folder
//! * [`oracle`]: recorded cases of the authors' code; [`bench`](mod@bench): timing of training steps
//! * [`cli`], [`commands`]: what the user types and what it does
//!
//! Small parts that these share: [`device`], [`model`] and [`nearest`] find what a name means, [`loading`] the data, [`machine`] the
//! class of machine; [`progress`], [`output`], [`whole_file`] and [`shell`] are for what is shown and written.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used))]

pub mod analyze;
pub mod bench;
pub mod cli;
pub mod commands;
pub mod config;
pub mod device;
pub mod experiments;
pub mod interrupt;
pub mod loading;
pub mod machine;
pub mod model;
pub mod nearest;
pub mod oracle;
pub mod output;
pub mod pack;
pub mod plan;
pub mod progress;
pub mod shell;
pub mod slurm;
pub mod status;
pub mod train;
pub mod whole_file;

/// Exit code of a command line or configuration that is wrong (`EX_USAGE` of sysexits.h).
pub const EXIT_USAGE: u8 = 64;

/// Exit code of what is to be started again (`EX_TEMPFAIL` of sysexits.h): a run that its time limit stopped, or that failed
/// within a scheduler's job.
pub const EXIT_AGAIN: u8 = 75;

/// The exit code of a failed command: [`EXIT_USAGE`] where a name, an option or the configuration is wrong, that of a check
/// that has not passed, [`EXIT_AGAIN`] where a job should try again, else 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(check) = error.downcast_ref::<commands::check::NotPassed>() {
        return check.exit_code();
    }
    let usage = error.is::<nearest::UnknownName>()
        || error.is::<config::ConfigError>()
        || error.is::<cli::WrongOptions>();
    // A folder that cannot be claimed is none that another attempt can claim.
    let waits = || {
        matches!(error.downcast_ref::<claims::Error>(), Some(claims::Error::TakenOver { .. }))
            || error.is::<commands::run::Waits>()
    };
    let again = error.downcast_ref::<train::attempts::Failed>().is_some_and(train::attempts::Failed::again)
        || claims::job().is_some() && waits();
    match (usage, again) {
        (true, _) => EXIT_USAGE,
        (_, true) => EXIT_AGAIN,
        _ => 1,
    }
}
