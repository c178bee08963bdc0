//! An experiment as the command line changes it: what `reproduce`, `run` and `plan` have in common.

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use clap::Args;
use datasets::Id;

use super::{ComputeOptions, WrongOptions};
use crate::config::{self, Override, Resolved};
use crate::device;
use crate::experiments::Experiment;
use crate::status;

/// The experiment, its settings, its data and its folder.
#[derive(Clone, Debug, Args)]
pub struct Planned {
    /// quick, cifar10, cifar100, tiny-imagenet, or a file ending in .toml.
    pub experiment: String,
    /// paper, authors, paper-short, laptop or smoke, as the experiment has them (default: its own).
    #[arg(long)]
    pub preset: Option<String>,
    /// Repetitions of everything.
    #[arg(long, value_name = "N")]
    pub seeds: Option<u32>,
    /// Subnetworks of a BatchEnsemble and teachers that a student learns from.
    #[arg(long, value_name = "M")]
    pub members: Option<u32>,
    /// Teachers to train for the curve of the deep ensemble (default: as many as members).
    #[arg(long, value_name = "N")]
    pub teachers: Option<u32>,
    /// Rows to train, separated by commas; the teachers that they need come along.
    #[arg(long, value_name = "A,B", value_delimiter = ',', value_parser = trimmed)]
    pub methods: Vec<String>,
    /// Epochs of the teachers; those of the students, the milestones of all schedules and validations in proportion.
    #[arg(long, value_name = "N")]
    pub epochs: Option<u32>,
    /// Where and how to compute.
    #[command(flatten)]
    pub compute: ComputeOptions,
    /// Read the data from a folder in the hub's layout instead of the hub.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The folder of the records.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    pub out: PathBuf,
    /// Override a setting of the experiment, such as teacher.lr=0.05. May be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = Override::set)]
    pub set: Vec<Override>,
}

impl Planned {
    /// The experiment with its preset and these options.
    ///
    /// # Errors
    /// Names, of device and precision too, and settings that are wrong.
    pub fn resolve(&self) -> anyhow::Result<Resolved> {
        let experiment = Experiment::find(&self.experiment)?;
        let resolved = config::resolve(&experiment, self.preset.as_deref(), &self.overrides())?;
        device::check(&self.compute.device)?;
        device::precision(&self.compute.precision)?;
        self.check_set()?;
        if status::is_experiment(&self.out) {
            let parent =
                self.out.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
            return Err(WrongOptions(format!(
                "--out {}: that is the folder of an experiment's records; name the one that it lies in, --out {}",
                self.out.display(),
                parent.display()
            ))
            .into());
        }
        if self.data_dir.is_some() && resolved.config.data.dataset == Id::Synthetic.name() {
            let what =
                "--data-dir: synthetic images are made from a seed and read from nowhere; leave it out";
            return Err(WrongOptions(what.to_owned()).into());
        }
        Ok(resolved)
    }

    /// Refuses a `--set` of what an option of its own says.
    fn check_set(&self) -> Result<(), WrongOptions> {
        let options = [
            ("seeds", self.seeds.is_some()),
            ("members", self.members.is_some()),
            ("teachers", self.teachers.is_some()),
            ("methods", !self.methods.is_empty()),
        ];
        for (key, _) in options.into_iter().filter(|(_, is_given)| *is_given) {
            if let Some(text) = self.set.iter().find(|set| set.key() == key).and_then(Override::set_text) {
                return Err(WrongOptions(format!("--set {text} beside --{key}: leave out one of them")));
            }
        }
        Ok(())
    }

    /// The options that change the configuration, `--set` last.
    pub fn overrides(&self) -> Vec<Override> {
        let mut all = Vec::new();
        let mut number = |option: &str, key: &str, value: Option<u32>| {
            all.extend(value.map(|value| Override::option(option, key, i64::from(value))));
        };
        number("--seeds", "seeds", self.seeds);
        number("--epochs", "epochs", self.epochs);
        number("--members", "members", self.members);
        match self.teachers {
            Some(_) => number("--teachers", "teachers", self.teachers),
            None => number("--members", "teachers", self.members),
        }
        if !self.methods.is_empty() {
            all.push(Override::option("--methods", "methods", self.methods.clone()));
        }
        all.extend(self.set.iter().cloned());
        all
    }

    /// The options, without the experiment, that another command of this program takes to mean the same.
    pub fn options(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut option = |name: &str, value: Option<String>| {
            all.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        };
        option("--preset", self.preset.clone());
        option("--seeds", self.seeds.map(|n| n.to_string()));
        option("--members", self.members.map(|n| n.to_string()));
        option("--teachers", self.teachers.map(|n| n.to_string()));
        option("--methods", (!self.methods.is_empty()).then(|| self.methods.join(",")));
        option("--epochs", self.epochs.map(|n| n.to_string()));
        option("--device", Some(self.compute.device.clone()));
        option("--precision", Some(self.compute.precision.clone()));
        option("--micro-batch", self.compute.micro_batch.map(|most| most.to_string()));
        option("--data-dir", self.data_dir.as_ref().map(|dir| dir.display().to_string()));
        option("--out", Some(self.out.display().to_string()));
        for set in &self.set {
            option("--set", set.set_text().map(str::to_owned));
        }
        all
    }
}

/// A name without the spaces that a list may have between its commas.
fn trimmed(name: &str) -> Result<String, Infallible> {
    Ok(name.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    #[test]
    fn options_are_read_back_as_they_were() {
        let line = "divkd reproduce quick --preset smoke --seeds 2 --members 3 --teachers 5 --methods be,be-kd --epochs 9 --device cpu \
                    --precision tf32 --micro-batch 64 --data-dir some/where --out there --set teacher.lr=0.2 --set teacher.schedule.milestones=[1,2,3]";
        let parse = |words: Vec<String>| match Cli::try_parse_from(words).unwrap().command {
            Command::Reproduce(args) => args.planned,
            _ => panic!("another command"),
        };
        let once = parse(line.split(' ').map(str::to_owned).collect());
        let words = ["divkd", "reproduce", "quick"].map(str::to_owned);
        let twice = parse(words.into_iter().chain(once.options()).collect());
        assert_eq!(format!("{once:?}"), format!("{twice:?}"));
        assert_eq!(once.options().len(), 26);
        let spaced = ["divkd", "reproduce", "quick", "--methods", " be, be-kd"].map(str::to_owned);
        assert_eq!(parse(spaced.to_vec()).methods, ["be", "be-kd"]);
    }
}
