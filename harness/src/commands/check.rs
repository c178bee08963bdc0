//! `divkd check`: the gate on metrics. Exits with 0 where all is as it should be, 1 where something is not, 2 where
//! there are too few seeds to tell.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use candle_core::Device;
use results::analysis::{Analysis, TEACHERS, of_records};
use results::check::claims;
use results::check::golden::{self, Golden};
use results::check::{Report, Verdict, spread};
use results::record::{folders, scan_one};
use results::table::{Experiment, Table};
use thiserror::Error;

use crate::bench::SpeedGolden;
use crate::cli::{Check, WrongOptions};
use crate::experiments;
use crate::machine;
use crate::output::out;
use crate::train::record;

/// The folder of the goldens, under the current one.
const GOLDEN: &str = "results/golden";

/// The file of the speed gate in it.
const SPEED: &str = "speed.toml";

/// The golden that `--bless` makes where there is none.
const FIRST: &str = "quick-smoke";

/// A check that did not pass, which decides the exit code.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotPassed {
    /// Something is not as it should be.
    #[error("the check fails")]
    Fails,
    /// There is too little to tell.
    #[error("the check is inconclusive")]
    Inconclusive,
}

impl NotPassed {
    /// 1 or 2.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Fails => 1,
            Self::Inconclusive => 2,
        }
    }
}

/// Prints what was checked; `threads` are those that were asked for.
///
/// # Errors
/// [`NotPassed`]; records or goldens that are missing or damaged, and whatever stops a run.
pub fn run(args: &Check, threads: Option<u16>) -> anyhow::Result<()> {
    let report = match (args.golden, args.speed) {
        (true, _) => check_golden(args, threads)?,
        (false, true) => check_speed(args)?,
        (false, false) => check_records(args)?,
    };
    out!("{}", report.render())?;
    match report.verdict() {
        // What was blessed is right from now on, whatever it was before.
        _ if args.bless => Ok(()),
        Verdict::Fail => Err(NotPassed::Fails.into()),
        Verdict::Inconclusive => Err(NotPassed::Inconclusive.into()),
        Verdict::Pass | Verdict::New => Ok(()),
    }
}

/// Tier 1: runs the experiments of the goldens anew, in a temporary folder.
fn check_golden(args: &Check, threads: Option<u16>) -> anyhow::Result<Report> {
    let mut report = Report::default();
    for folder in goldens(args.bless)? {
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let now = Golden::new(&rerun(&name, args, threads)?, &machine::class())?;
        let section = match Golden::read(&folder) {
            Ok(golden) => golden.compare(&name, &now),
            Err(error) if args.bless => {
                eprintln!("{:#}: blessing a new one", anyhow::Error::from(error));
                now.compare(&name, &now)
            }
            Err(error) => return Err(error.into()),
        };
        if args.bless {
            now.write(&folder)?;
            eprintln!("blessed {}", folder.display());
        }
        report.sections.push(section);
    }
    Ok(report)
}

/// The speed gate, opt-in: times mean nothing on a busy machine.
///
/// # Errors
/// [`WrongOptions`] for a device that is not the CPU, whose multiply-add rate the steps are held to.
fn check_speed(args: &Check) -> anyhow::Result<Report> {
    if !["auto", "cpu"].contains(&args.device.as_str()) {
        return Err(WrongOptions(format!(
            "--speed holds steps to the CPU's multiply-add rate: leave out --device {0} (`divkd bench step --device {0}` \
             gives its share of what the device can do)",
            args.device
        ))
        .into());
    }
    let path = Path::new(GOLDEN).join(SPEED);
    let stored = if path.is_file() || !args.bless { SpeedGolden::read(&path)? } else { SpeedGolden::first() };
    let now = stored.measure(&Device::Cpu)?;
    if args.bless {
        now.write(&path)?;
        eprintln!("blessed {}", path.display());
    }
    Ok(Report { sections: vec![stored.compare(&now)] })
}

/// The folders of the goldens, sorted.
fn goldens(bless: bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut folders: Vec<PathBuf> = std::fs::read_dir(GOLDEN)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join(golden::TABLE).is_file())
        .collect();
    folders.sort();
    if folders.is_empty() && bless {
        folders.push(Path::new(GOLDEN).join(FIRST));
    }
    ensure!(
        !folders.is_empty(),
        "no {GOLDEN}/<experiment>-<preset>/{} under the current folder: run this in the repository, or make one with \
         --bless",
        golden::TABLE
    );
    Ok(folders)
}

/// Trains everything of `<experiment>-<preset>` and gives its table.
fn rerun(name: &str, args: &Check, threads: Option<u16>) -> anyhow::Result<Table> {
    let (experiment, preset) = split(name)?;
    let out = tempfile::tempdir().context("cannot make a temporary folder")?;
    // A process of its own, so that what is gated is the program as a user runs it.
    let mut command = Command::new(std::env::current_exe().context("cannot find this program")?);
    command
        .args(["reproduce", &experiment, "--preset", &preset, "--device", &args.device])
        .arg("--out")
        .arg(out.path());
    if let Some(threads) = threads {
        command.args(["--threads", &threads.to_string()]);
    }
    command.args(args.set.iter().flat_map(|set| ["--set", set.as_str()])).stdout(Stdio::null());
    let status = command.status().context("cannot run this program")?;
    ensure!(status.success(), "the run of {name} has failed ({status})");
    Ok(Table::of_one(&out.path().join(name))?)
}

/// The built-in experiment and preset of a folder's name: either may have a hyphen.
fn split(name: &str) -> anyhow::Result<(String, String)> {
    for experiment in experiments::Experiment::built_in() {
        let preset = name.strip_prefix(&experiment.name).and_then(|rest| rest.strip_prefix('-'));
        if let Some(preset) = preset
            && experiment.presets()?.iter().any(|known| known == preset)
        {
            return Ok((experiment.name, preset.to_owned()));
        }
    }
    anyhow::bail!("{GOLDEN}/{name} is not named after an experiment and its preset, such as {FIRST}")
}

/// Tiers 2 and 3: stored records against published numbers, earlier records and the paper's claims.
fn check_records(args: &Check) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let earlier = args.against.as_deref().map(Table::build).transpose()?;
    for folder in folders(&args.runs)? {
        let experiment = Experiment::read(&folder)?;
        experiment.doubts.iter().for_each(|doubt| eprintln!("note: {}: {doubt}", experiment.folder));
        report.sections.extend(spread::against_published(&experiment));
        if let Some(earlier) = &earlier {
            let same = earlier.experiments.iter().find(|earlier| earlier.folder == experiment.folder);
            report.sections.push(spread::against_earlier(&experiment, same));
        }
        let (analyses, left_out) = analyses_of(&folder)?;
        left_out.iter().for_each(|why| eprintln!("note: {}: {why}", experiment.folder));
        let teachers = analyses.iter().filter(|one| one.row == TEACHERS);
        let train_kld = teachers.map(|one| (one.seed, one.train_kld())).collect();
        report.sections.push(claims::evaluate(&experiment, &train_kld));
    }
    Ok(report)
}

/// The analyses of an experiment's records, and why others are left out.
fn analyses_of(folder: &Path) -> anyhow::Result<(Vec<Analysis>, Vec<String>)> {
    let infos =
        scan_one(folder)?.iter().map(|path| record::read_info(&path.dir)).collect::<Result<Vec<_>, _>>()?;
    Ok(of_records(folder, &infos.iter().collect::<Vec<_>>())?)
}
