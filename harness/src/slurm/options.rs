//! What the jobs ask of Slurm: options of `sbatch`, as `--slurm "partition=gpu,gres=gpu:1,time=04:00:00"`.

use crate::cli::WrongOptions;

/// Options that every script sets itself.
const OWN: [&str; 12] = [
    "array",
    "chdir",
    "dependency",
    "error",
    "job-name",
    "kill-on-invalid-dep",
    "no-requeue",
    "open-mode",
    "output",
    "parsable",
    "requeue",
    "wrap",
];

/// Seconds before the time limit at which a job is told to write its checkpoints, where the user says nothing.
const LEAD: u32 = 120;

/// Options of `sbatch` by their long names, in the order in which they were given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options(Vec<(String, Option<String>)>);

impl Options {
    /// Reads the texts of `--slurm`: `key=value` separated by commas, a part without `=` being more of the value before it
    /// (`exclude=n1,n2`); or one option without a value (`exclusive`).
    ///
    /// # Errors
    /// What is no option, and options that the scripts set themselves.
    pub fn parse(texts: &[String]) -> Result<Self, WrongOptions> {
        let mut all: Vec<(String, Option<String>)> = Vec::new();
        for text in texts {
            for (index, part) in text.split(',').enumerate() {
                match part.split_once('=') {
                    Some((key, value)) => all.push((key.to_owned(), Some(value.trim().to_owned()))),
                    None if index == 0 => all.push((part.to_owned(), None)),
                    None => {
                        if let Some((_, Some(value))) = all.last_mut() {
                            value.push(',');
                            value.push_str(part);
                        } else {
                            return Err(WrongOptions(format!(
                                "--slurm {text}: `{part}` belongs to no option; write key=value"
                            )));
                        }
                    }
                }
            }
        }
        for (key, value) in &mut all {
            *key = key.trim().trim_start_matches("--").to_owned();
            let is_name = key.starts_with(|c: char| c.is_ascii_lowercase())
                && key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            let is_line = value.as_ref().is_none_or(|value| !value.contains(char::is_control));
            if !is_name || !is_line {
                return Err(WrongOptions(format!(
                    "--slurm: `{key}` is not the long name of an option of sbatch, such as partition, gres or time"
                )));
            }
            if OWN.contains(&key.as_str()) {
                return Err(WrongOptions(format!("--slurm: {key} is set by divkd itself; leave it out")));
            }
        }
        Ok(Self(all))
    }

    /// A `#SBATCH` line each, and the signal ahead of the time limit.
    pub fn lines(&self) -> String {
        let mut lines = String::new();
        if !self.0.iter().any(|(key, _)| key == "signal") {
            lines.push_str(&format!("#SBATCH --signal=B:USR1@{LEAD}\n"));
        }
        for (key, value) in &self.0 {
            let value = value.as_ref().map(|value| format!("={value}")).unwrap_or_default();
            lines.push_str(&format!("#SBATCH --{key}{value}\n"));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(texts: &[&str]) -> Result<String, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Options::parse(&texts).map(|options| options.lines()).map_err(|error| error.to_string())
    }

    #[test]
    fn options_become_lines() {
        assert_eq!(
            parse(&["partition=gpu,gres=gpu:1,time=04:00:00,exclude=n1,n2", "exclusive"]).unwrap(),
            "#SBATCH --signal=B:USR1@120\n#SBATCH --partition=gpu\n#SBATCH --gres=gpu:1\n#SBATCH --time=04:00:00\n\
             #SBATCH --exclude=n1,n2\n#SBATCH --exclusive\n"
        );
        assert_eq!(parse(&["signal=B:USR1@600"]).unwrap(), "#SBATCH --signal=B:USR1@600\n");
        assert_eq!(parse(&[]).unwrap(), "#SBATCH --signal=B:USR1@120\n");
    }

    #[test]
    fn what_is_no_option_or_not_the_users_is_refused() {
        assert!(parse(&["array=0-3"]).unwrap_err().contains("array is set by divkd itself"));
        assert!(parse(&["--output=x"]).unwrap_err().contains("output is set by divkd itself"));
        assert!(parse(&["exclusive,gpu"]).unwrap_err().contains("`gpu` belongs to no option"));
        for wrong in ["", "Partition=x", "p artition=x", "comment=a\nb", "=3"] {
            assert!(parse(&[wrong]).unwrap_err().contains("not the long name"), "{wrong}");
        }
    }
}
