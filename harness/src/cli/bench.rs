//! What `bench` times.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};

use super::ComputeOptions;
use crate::bench;

/// Arguments of `bench`; alone it prints a table of the default steps by kind of operator.
#[derive(Debug, Args)]
pub struct Bench {
    /// What to time; without it, `step` as it is, which takes most of a minute.
    #[command(subcommand)]
    pub what: Option<BenchWhat>,
}

/// What `bench` can time.
#[derive(Debug, Subcommand)]
pub enum BenchWhat {
    /// Training steps on random images.
    Step(BenchStep),
    /// The epochs of finished runs, by row, from their records.
    Epochs(BenchEpochs),
}

/// Arguments of `bench step`.
#[derive(Clone, Debug, Args)]
pub struct BenchStep {
    /// A network by name, such as resnet-32 or wrn-28-10.
    #[arg(long, default_value = "resnet-32")]
    pub network: String,
    /// Methods, separated by commas.
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_value = "teacher,be-kd,be-kd-conf-ods")]
    pub methods: Vec<String>,
    /// The experiment, by name or file, whose settings the methods, optimisers and batch norms have.
    #[arg(long, default_value = bench::EXPERIMENT)]
    pub experiment: String,
    /// Training images a step.
    #[arg(long, default_value_t = 128, value_parser = count(1..=65_536))]
    pub batch: usize,
    /// Classes.
    #[arg(long, default_value_t = 10, value_parser = count(1..=65_536))]
    pub classes: usize,
    /// Subnetworks and teachers.
    #[arg(long, default_value_t = 4, value_parser = count(1..=1000))]
    pub members: usize,
    /// Height and width of an image.
    #[arg(long, default_value_t = 32, value_parser = count(1..=1024))]
    pub image: usize,
    /// Where and how to compute.
    #[command(flatten)]
    pub compute: ComputeOptions,
    /// Untimed steps before the timed ones; on a CUDA device 14 at least, in which it chooses what it launches.
    #[arg(long, default_value_t = 2, value_parser = count(0..=1_000_000))]
    pub warmup: usize,
    /// Timed steps; the median counts.
    #[arg(long, default_value_t = 6, value_parser = count(1..=1_000_000))]
    pub steps: usize,
    /// One JSON object a line instead of a table, which a CUDA device's steps have on standard error.
    #[arg(long)]
    pub json: bool,
}

/// A count within `range`: a slip must not exhaust the machine.
fn count(range: RangeInclusive<u64>) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(range)
}

/// Arguments of `bench epochs`.
#[derive(Clone, Debug, Args)]
pub struct BenchEpochs {
    /// The folder of records, as for `table`.
    #[arg(default_value = "runs")]
    pub runs: PathBuf,
    /// term, csv, md or latex.
    #[arg(long, default_value = "term")]
    pub format: String,
}

impl Default for BenchStep {
    /// As the command line has it without options.
    fn default() -> Self {
        #[derive(Parser)]
        struct Alone {
            #[command(flatten)]
            step: BenchStep,
        }
        Alone::parse_from([""]).step
    }
}
