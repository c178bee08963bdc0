//! `divkd export`: a run's model as safetensors under the official parameter names.

use std::ffi::OsString;
use std::fs;

use anyhow::{Context, ensure};
use results::record::{MODEL, Record};

use crate::cli;

/// Copies the model of a finished run; records hold it under the official names already.
///
/// # Errors
/// Where the run has no model, or the file exists already or cannot be written.
pub fn run(args: &cli::Export) -> anyhow::Result<()> {
    let record = Record::open(&args.run)?;
    let model = record.model().with_context(|| format!("{} has no {MODEL}", args.run.display()))?;
    ensure!(!args.out.exists(), "{} exists already: name another file", args.out.display());
    let mut draft_name = OsString::from(".tmp-");
    draft_name.push(args.out.file_name().unwrap_or_default());
    let draft = args.out.with_file_name(draft_name);
    let copied = fs::copy(&model, &draft).and_then(|bytes| fs::rename(&draft, &args.out).map(|()| bytes));
    let bytes = copied
        .inspect_err(|_| {
            // On a full disk half a file only takes space.
            let _ = fs::remove_file(&draft);
        })
        .with_context(|| format!("cannot copy {} to {}", model.display(), args.out.display()))?;
    eprintln!("wrote {} ({bytes} bytes)", args.out.display());
    Ok(())
}
