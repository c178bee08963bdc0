//! A job as the text that `sbatch` reads: it starts its runs, passes Slurm's signals on to them, and asks to be started
//! again where they were stopped by the time limit or failed in a way that another attempt may mend.

use std::path::Path;

use super::options::Options;
use crate::EXIT_AGAIN;
use crate::shell::quote;

/// What all jobs of a submission share.
#[derive(Clone, Debug)]
pub struct Common<'a> {
    /// The user's options.
    pub options: &'a Options,
    /// The folder in which the command was given.
    pub chdir: &'a Path,
    /// The program, with an absolute path.
    pub program: &'a Path,
    /// The experiment.
    pub experiment: &'a str,
    /// Options that mean the same to every command.
    pub planned: &'a [String],
    /// Variables of the environment that the runs need.
    pub exports: &'a [(String, String)],
}

/// The script of an array of runs: `tasks` holds the rows of each of its jobs.
pub fn array(common: &Common<'_>, name: &str, log: &Path, seed: u64, tasks: &[Vec<String>]) -> String {
    let most = tasks.iter().map(Vec::len).max().unwrap_or(1);
    let rows: Vec<String> = tasks.iter().map(|rows| quote(&rows.join(" "))).collect();
    let words = [quote(&common.program.display().to_string()), "run".to_owned(), quote(common.experiment)];
    let line = format!("{} \"$row\" --seed {seed} {}", words.join(" "), quoted(common.planned));
    let start = format!(
        "# The rows of each task.\ntasks=({})\nfor row in ${{tasks[SLURM_ARRAY_TASK_ID]}}; do\n    {line} &\n    \
         runs+=($!)\ndone\n",
        rows.join(" ")
    );
    let indices = format!("#SBATCH --array=0-{}\n", tasks.len().saturating_sub(1));
    script(common, name, log, &indices, most, &start)
}

/// The script of the last job, which trains nothing: it evaluates, writes the table and says what is missing.
pub fn evaluation(common: &Common<'_>, name: &str, log: &Path) -> String {
    let words =
        [quote(&common.program.display().to_string()), "reproduce".to_owned(), quote(common.experiment)];
    let start = format!("{} {} --executor none &\nruns+=($!)\n", words.join(" "), quoted(common.planned));
    script(common, name, log, "", 1, &start)
}

fn script(common: &Common<'_>, name: &str, log: &Path, array: &str, runs: usize, start: &str) -> String {
    let exports: String =
        common.exports.iter().map(|(name, value)| format!("export {name}={}\n", quote(value))).collect();
    format!(
        r#"#!/bin/bash
#SBATCH --job-name={name}
{array}#SBATCH --output={log}
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --chdir={chdir}
{options}
{exports}# Zero is all cores, where Slurm does not say how many the job has.
cpus=${{SLURM_CPUS_ON_NODE:-0}}
export RAYON_NUM_THREADS=${{RAYON_NUM_THREADS:-$((cpus > 0 && cpus < {runs} ? 1 : cpus / {runs}))}}

# Slurm signals this shell alone: USR1 ahead of the time limit, TERM at the end. The runs write a checkpoint and end.
runs=()
trap 'kill -USR1 "${{runs[@]}}" 2>/dev/null' USR1
trap 'kill -TERM "${{runs[@]}}" 2>/dev/null' TERM

{start}
again=
failed=0
for run in "${{runs[@]}}"; do
    # A signal ends the wait but not the run.
    while
        wait "$run"
        code=$?
        [ "$code" -gt 128 ] && kill -0 "$run" 2>/dev/null
    do :; done
    case $code in
        0) ;;
        # Stopped ahead of the time limit, killed, or failed and worth another attempt.
        138 | 137 | {EXIT_AGAIN}) again=yes ;;
        *) failed=$code ;;
    esac
done
if [ -n "$again" ]; then
    echo "job $SLURM_JOB_ID goes back to the queue"
    scontrol requeue "$SLURM_JOB_ID" && exit 0
    exit {EXIT_AGAIN}
fi
exit "$failed"
"#,
        log = log.display(),
        chdir = common.chdir.display(),
        options = common.options.lines(),
    )
}

fn quoted(words: &[String]) -> String {
    words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Zero would be all cores for each of the runs.
    #[test]
    fn cores_are_shared_among_the_runs_of_a_job() {
        let at = Path::new("/x");
        let options = Options::parse(&[]).unwrap();
        let common = Common {
            options: &options,
            chdir: at,
            program: at,
            experiment: "quick",
            planned: &[],
            exports: &[],
        };
        let three = ["a", "b", "c"].map(str::to_owned).to_vec();
        let text = array(&common, "name", at, 1, &[three]);
        let is_of = |line: &&str| line.starts_with("cpus=") || line.starts_with("export RAYON");
        let lines: Vec<&str> = text.lines().filter(is_of).chain(["echo $RAYON_NUM_THREADS"]).collect();
        let threads = |environment: &[(&str, &str)]| {
            let mut bash = Command::new("bash");
            bash.arg("-c").arg(lines.join("\n")).env_clear().envs(environment.iter().copied());
            String::from_utf8(bash.output().unwrap().stdout).unwrap().trim().to_owned()
        };
        let cpus = |count| threads(&[("SLURM_CPUS_ON_NODE", count)]);
        assert_eq!(["8", "3", "2", "1"].map(cpus), ["2", "1", "1", "1"]);
        assert_eq!(threads(&[]), "0");
        assert_eq!(threads(&[("SLURM_CPUS_ON_NODE", "8"), ("RAYON_NUM_THREADS", "5")]), "5");
    }
}
