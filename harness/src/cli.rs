//! The command line.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};

use crate::config::Override;
use crate::interrupt::TimeLimit;

mod bench;
mod cluster;
mod compute;
mod devices;
mod planned;
mod spread;

pub use bench::{Bench, BenchEpochs, BenchStep, BenchWhat};
pub use cluster::{Cancel, Executor, Plan, Run, Status, WrongOptions};
pub use compute::ComputeOptions;
pub use devices::Devices;
pub use planned::Planned;
pub use spread::SpreadOptions;

/// Reproduces "Diversity Matters When Learning From Ensembles" (NeurIPS 2021): trains teachers and students, and prints
/// the paper's tables.
#[derive(Debug, Parser)]
#[command(name = "divkd", version, arg_required_else_help = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// CPU threads (default: one per core). The results do not depend on it.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Train an experiment's missing runs, print its table and write its report.
    Reproduce(Reproduce),
    /// Train one run of an experiment.
    Run(Run),
    /// Show which runs are waiting, running, done and failed.
    Status(Status),
    /// Cancel an experiment's jobs.
    Cancel(Cancel),
    /// Say how long an experiment takes on a number of devices.
    Plan(Plan),
    /// Print the table of the records under a folder.
    Table(Table),
    /// The paper's figures as tables, and which rows are better than others.
    Analyze(Analyze),
    /// Write a page with the tables, figures and provenance of the records under a folder.
    Report(Report),
    /// List methods, networks, data sets and experiments.
    List,
    /// Check or fetch a data set.
    Data(Data),
    /// Convert an official checkpoint (.pth.tar) or safetensors file into a model file of this program.
    Import(Import),
    /// Write a run's model as safetensors under the official parameter names.
    Export(Export),
    /// Write what model files of any origin predict on an experiment's images.
    Predict(Predict),
    /// Print every metric of a run or of a predictions file.
    Eval(Eval),
    /// Copy finished records without their weights, for committing, and write their tables.
    Keep(Keep),
    /// Pack a plan's progress into one folder of a few files, to go on elsewhere.
    Pack(Pack),
    /// Unpack what `pack` packed into a folder of records.
    Unpack(Unpack),
    /// Check this program against recorded cases of the official implementation.
    Oracle(Oracle),
    /// Hold numbers to goldens, earlier records, published tables and the paper's claims.
    Check(Check),
    /// Time training steps, and show where their time goes.
    Bench(Bench),
}

/// Arguments of `reproduce`.
#[derive(Debug, Args)]
pub struct Reproduce {
    /// What to reproduce.
    #[command(flatten)]
    pub planned: Planned,
    /// Where, and how many runs at a time.
    #[command(flatten)]
    pub spread: SpreadOptions,
    /// Stop at a checkpoint before so much time is over, such as 90s, 9m or 1h30m, and say how to go on (exit code 75).
    #[arg(long, value_name = "TIME")]
    pub time_limit: Option<TimeLimit>,
    /// Print the plan and stop; with --executor slurm, the job scripts too.
    #[arg(long)]
    pub dry_run: bool,
    /// Who trains: local (this process), slurm (jobs of a cluster) or none (evaluate what is finished).
    #[arg(long, value_enum, default_value_t = Executor::Local, hide_possible_values = true)]
    pub executor: Executor,
    /// What the jobs ask of Slurm, such as "partition=gpu,gres=gpu:1,time=04:00:00": options of sbatch. May be repeated.
    #[arg(long, value_name = "KEY=VALUE,..")]
    pub slurm: Vec<String>,
    /// Runs that one job trains at the same time, so that small networks share a device.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub runs_per_job: u16,
    /// Stay until the jobs are over, then print the table.
    #[arg(long)]
    pub wait: bool,
}

/// Arguments of `table`.
#[derive(Debug, Args)]
pub struct Table {
    /// A folder of records: all experiments, one of them, or one row.
    #[arg(default_value = "runs")]
    pub dir: PathBuf,
    /// term, csv, md or latex.
    #[arg(long, default_value = "term")]
    pub format: String,
    /// The values of each seed instead of their mean and spread, as CSV.
    #[arg(long, conflicts_with = "format")]
    pub each_seed: bool,
}

/// Arguments of `analyze`.
#[derive(Debug, Args)]
pub struct Analyze {
    /// What to show.
    #[command(subcommand)]
    pub what: AnalyzeWhat,
}

/// What `analyze` can show.
#[derive(Debug, Subcommand)]
pub enum AnalyzeWhat {
    /// How sure the teachers are of their training images (figure 1).
    Confidence(AnalyzeRuns),
    /// How much members disagree, by their confidence, on training images as they are and perturbed, and on test images
    /// (figure 3).
    Diversity(AnalyzeRuns),
    /// Whether ODS perturbations of one teacher make the others disagree (figure 6).
    Transfer(AnalyzeRuns),
    /// How close the students' Jacobians are to their teachers' (section 5.3), and the remainder below.
    Jacobian(AnalyzeRuns),
    /// How well the teachers are described by their Jacobians (section 3.2).
    Remainder(AnalyzeRuns),
    /// Every row against one of them, with bootstrap intervals over test images and seeds.
    Compare(CompareRuns),
}

/// Records to compare.
#[derive(Debug, Args)]
pub struct CompareRuns {
    /// A folder of records: all experiments, or one of them.
    #[arg(default_value = "runs")]
    pub runs: PathBuf,
    /// The row that the others are compared with, such as be-kd-gaussian or de-4.
    #[arg(long, value_name = "ROW", default_value = results::compare::BASELINE)]
    pub baseline: String,
    /// term, csv, md or latex.
    #[arg(long, default_value = "term")]
    pub format: String,
}

/// Records to analyse.
#[derive(Debug, Args)]
pub struct AnalyzeRuns {
    /// A folder of records: all experiments, or one of them.
    #[arg(default_value = "runs")]
    pub runs: PathBuf,
    /// term, csv, md or latex.
    #[arg(long, default_value = "term")]
    pub format: String,
    /// Where the data are in the hub's layout, for arrays that are not stored yet.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// auto, cpu or cuda:0.
    #[arg(long, default_value = "auto")]
    pub device: String,
}

/// Arguments of `report`.
#[derive(Debug, Args)]
pub struct Report {
    /// A folder of records: all experiments or one of them.
    #[arg(default_value = "runs")]
    pub runs: PathBuf,
    /// The page to write: one HTML file that needs nothing else.
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    pub out: PathBuf,
    /// Also write each figure as SVG and PNG, and the tables as Markdown, CSV and LaTeX.
    #[arg(long, value_name = "DIR")]
    pub figures: Option<PathBuf>,
    /// Also write the epochs and scores as TensorBoard event files, a folder a run.
    #[arg(long, value_name = "DIR")]
    pub tensorboard: Option<PathBuf>,
}

/// Arguments of `data`.
#[derive(Debug, Args)]
pub struct Data {
    /// What to do with the data.
    #[command(subcommand)]
    pub action: DataAction,
}

/// What `data` does.
#[derive(Debug, Subcommand)]
pub enum DataAction {
    /// Read every file and image and report what is damaged or missing.
    Verify(DataSet),
    /// Download the files into the hub's cache.
    Fetch(DataSet),
}

/// A data set and where it is.
#[derive(Debug, Args)]
pub struct DataSet {
    /// cifar10, cifar100 or tiny-imagenet.
    pub dataset: String,
    /// Read from a folder in the hub's layout instead of the hub.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// A .pth.tar or .safetensors file.
    pub file: PathBuf,
    /// The network it holds, such as wrn-28-10. Classes and members are read from the file.
    #[arg(long)]
    pub network: String,
    /// The model file to write (must not exist).
    #[arg(long)]
    pub out: PathBuf,
}

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The folder of a finished run: `<out>/<experiment>-<preset>/<row>/seed-<n>`.
    pub run: PathBuf,
    /// The file to write (must not exist).
    #[arg(long)]
    pub out: PathBuf,
}

/// Arguments of `predict`.
#[derive(Debug, Args)]
pub struct Predict {
    /// Whose images: quick, cifar10, cifar100, tiny-imagenet, or a file ending in .toml.
    pub experiment: String,
    /// Model files (.safetensors, .pth.tar) or folders of finished runs: the members of one ensemble, all of the experiment's
    /// network, each plain or a BatchEnsemble.
    #[arg(required = true, value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// The predictions file to write (must not exist).
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// As for `reproduce`.
    #[arg(long)]
    pub preset: Option<String>,
    /// auto, cpu or cuda:0.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Of convolutions and feature maps on CUDA: f32, tf32 or bf16.
    #[arg(long, default_value = "f32")]
    pub precision: String,
    /// Read the data from a folder in the hub's layout instead of the hub.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Override a setting of the experiment, such as network=wrn-28-4. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = Override::set)]
    pub set: Vec<Override>,
}

/// Arguments of `eval`.
#[derive(Debug, Args)]
pub struct Eval {
    /// The folder of a finished run, or a predictions.safetensors file.
    pub path: PathBuf,
}

/// Arguments of `keep`.
#[derive(Debug, Args)]
pub struct Keep {
    /// The folder of records, such as runs/cifar10-laptop.
    pub runs: PathBuf,
    /// Where the copies go.
    #[arg(long, value_name = "DIR", default_value = "results/runs")]
    pub out: PathBuf,
}

/// Arguments of `pack`.
#[derive(Debug, Args)]
pub struct Pack {
    /// The folder of records, of all experiments or one.
    pub runs: PathBuf,
    /// The folder to write, new or empty: at most 8 files of at most 16 MiB.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

/// Arguments of `unpack`.
#[derive(Debug, Args)]
pub struct Unpack {
    /// A folder that `pack` wrote.
    pub dir: PathBuf,
    /// The folder of the records. What is there already is never overwritten.
    #[arg(long, value_name = "RUNS", default_value = "runs")]
    pub out: PathBuf,
}

/// Arguments of `oracle`.
#[derive(Debug, Args)]
pub struct Oracle {
    /// A folder of case folders, or one case folder.
    pub dir: PathBuf,
    /// One JSON object a line instead of a table.
    #[arg(long)]
    pub json: bool,
    /// auto, cpu or cuda:0.
    #[arg(long, default_value = "auto")]
    pub device: String,
    /// Of convolutions and feature maps on CUDA: f32, tf32 or bf16, the last two held to wider tolerances.
    #[arg(long, default_value = "f32")]
    pub precision: String,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("measured").args(["golden", "speed"]).multiple(false))]
pub struct Check {
    /// A folder of records, as for `table`.
    #[arg(default_value = "runs", conflicts_with = "measured")]
    pub runs: PathBuf,
    /// Earlier records to compare with, seed by seed.
    #[arg(long, value_name = "RUNS", conflicts_with = "measured")]
    pub against: Option<PathBuf>,
    /// Run the experiments of results/golden again and compare their tables.
    #[arg(long)]
    pub golden: bool,
    /// Time training steps and hold them to results/golden/speed.toml, loosely. For a quiet machine.
    #[arg(long, conflicts_with = "golden")]
    pub speed: bool,
    /// Store the new tables, or shares, in results/golden and show what moved.
    #[arg(long, requires = "measured")]
    pub bless: bool,
    /// Change a setting of the run, such as method.be-kd.tau=2, to see the gate fail. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", requires = "golden", conflicts_with_all = ["runs", "speed"])]
    pub set: Vec<String>,
    /// Where --golden and --speed compute: auto, cpu or cuda:0.
    #[arg(long, default_value = "auto", requires = "measured")]
    pub device: String,
}
