//! `divkd pack` and `divkd unpack`: a plan's progress as one small folder.

use crate::cli;
use crate::output::outln;
use crate::pack::{LeftOut, Limits, Packed, Unpacked, pack, unpack};

/// Packs, and names what did not fit.
///
/// # Errors
/// Those of [`pack`].
pub fn run_pack(args: &cli::Pack) -> anyhow::Result<()> {
    let Packed { files, parts, bytes, left_out } = pack(&args.runs, &args.out, &Limits::default())?;
    for LeftOut { path, bytes } in &left_out {
        eprintln!("left out, for it does not fit: {path}, {}", megabytes(*bytes));
    }
    outln!("packed {files} files in {parts}, {}: {}", megabytes(bytes), args.out.display())?;
    Ok(())
}

/// Unpacks, and names what had not been packed.
///
/// # Errors
/// Those of [`unpack`].
pub fn run_unpack(args: &cli::Unpack) -> anyhow::Result<()> {
    let Unpacked { written, skipped, left_out } = unpack(&args.dir, &args.out)?;
    for LeftOut { path, bytes } in &left_out {
        eprintln!("not packed, for it did not fit: {path}, {}", megabytes(*bytes));
    }
    outln!("unpacked {written} files, {skipped} not needed: {}", args.out.display())?;
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
