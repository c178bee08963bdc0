//! `divkd export`: a run's model as safetensors under the official parameter names.

use std::fs;

use anyhow::{Context, ensure};
use results::record::{MODEL, Record};

use crate::{cli, whole_file};

/// Copies the model of a finished run; records hold it under the official names already.
///
/// # Errors
/// Where the run has no model, or the file exists already or cannot be written.
pub fn run(args: &cli::Export) -> anyhow::Result<()> {
    let record = Record::open(&args.run)?;
    let model = record.model().with_context(|| {
        format!(
            "{} has no {MODEL}: weights are neither kept nor always packed; export where the run was trained, or train it \
             again",
            args.run.display()
        )
    })?;
    ensure!(!args.out.exists(), "{} exists already: name another file", args.out.display());
    let mut bytes = 0;
    whole_file::make(&args.out, |draft| {
        bytes = fs::copy(&model, draft).with_context(|| format!("copying {}", model.display()))?;
        Ok(fs::File::open(draft)?.sync_all()?)
    })?;
    eprintln!("wrote {} ({bytes} bytes)", args.out.display());
    Ok(())
}
