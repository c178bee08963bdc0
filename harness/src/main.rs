//! `divkd`: reproduces "Diversity Matters When Learning From Ensembles" (NeurIPS 2021) from data to the paper's tables.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use harness::cli::{Cli, Command};
use harness::commands;
use harness::interrupt::Interrupted;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // A reader that has seen enough (`divkd table | head`) ends the program quietly.
    sigpipe::reset();
    nn::threads::keep_apart();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let usage = error.use_stderr();
            // A closed pipe is no reason to fail twice.
            let _ = error.print();
            return if usage { ExitCode::from(harness::EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(interrupted) = error.downcast_ref::<Interrupted>() {
                eprintln!("{interrupted}");
                return ExitCode::from(interrupted.exit_code());
            }
            eprintln!("error: {error:#}");
            if let Some(advice) = harness::device::advice(&error) {
                eprintln!("{advice}");
            }
            ExitCode::from(harness::exit_code(&error))
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    if let Some(threads) = cli.threads {
        rayon::ThreadPoolBuilder::new().num_threads(usize::from(threads)).build_global()?;
    }
    match cli.command {
        Command::Reproduce(args) => commands::reproduce::run(&args, cli.threads),
        Command::Run(args) => commands::run::run(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Cancel(args) => commands::cancel::run(&args),
        Command::Plan(args) => commands::plan::run(&args),
        Command::Table(args) => commands::table::run(&args),
        Command::Analyze(args) => commands::analyze::run(&args),
        Command::Report(args) => commands::report::run(&args),
        Command::List => commands::list::run(),
        Command::Data(args) => commands::data::run(&args),
        Command::Import(args) => commands::import::run(&args),
        Command::Export(args) => commands::export::run(&args),
        Command::Predict(args) => commands::predict::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Check(args) => commands::check::run(&args, cli.threads),
        Command::Bench(args) => commands::bench::run(&args),
        Command::Keep(args) => commands::keep::run(&args),
        Command::Pack(args) => commands::pack::run_pack(&args),
        Command::Unpack(args) => commands::pack::run_unpack(&args),
        Command::Oracle(args) => commands::oracle::run(&args),
    }
}
