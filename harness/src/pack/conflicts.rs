//! What is there already and differs from what was packed: found before anything is written.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use results::record::{RUN, RunInfo};

use super::slot::Slot;
use super::unpack::{self, Content};
use crate::config;
use crate::plan::stored::Stored;
use crate::train::{checkpoint, record};

/// Refuses to unpack over files of other content, and over checkpoints of runs that were begun with other settings or data:
/// a record that comes would end them, a checkpoint would not go on with them.
///
/// # Errors
/// The conflicts; a file that cannot be read; a plan that is not one, packed or there.
pub(super) fn refuse(content: &Content, out: &Path) -> anyhow::Result<()> {
    let mut conflicts = Vec::new();
    for (slot, bytes) in content {
        if let Slot::Plan(folder) = slot {
            // Two plans are merged, if both can be read.
            unpack::plan(bytes).with_context(|| format!("{slot}: not a plan"))?;
            Stored::read(&out.join(folder))?;
            continue;
        }
        let path = slot.path(out);
        let differs =
            path.is_file() && fs::read(&path).with_context(|| path.display().to_string())? != *bytes;
        if differs {
            conflicts.push(path.display().to_string());
        }
        conflicts.extend(begun_otherwise(slot, bytes, out)?);
    }
    if !conflicts.is_empty() {
        bail!(
            "what is there already differs from what was packed; nothing was unpacked, name another --out:\n  {}",
            conflicts.join("\n  ")
        );
    }
    Ok(())
}

/// The folder of checkpoints that the packed file would meet, where these are of other settings or data, with the
/// differences.
fn begun_otherwise(slot: &Slot, bytes: &[u8], out: &Path) -> anyhow::Result<Option<String>> {
    let (Slot::Record(run, _) | Slot::Checkpoint(run, _)) = slot else { return Ok(None) };
    if run.dir(out).is_dir() {
        return Ok(None);
    }
    let dir = run.checkpoints(out);
    let Some(mut begun) = checkpoint::inputs(&dir)? else { return Ok(None) };
    let packed = match slot {
        Slot::Record(_, file) if file == RUN => {
            // A record says these in its device alone; `reproduce` refuses one of another precision.
            for key in [record::PRECISION, record::MICRO_BATCH] {
                begun.remove(key);
            }
            let info: RunInfo = toml::from_str(str::from_utf8(bytes)?).with_context(|| slot.to_string())?;
            record::inputs(&info.config, &info.data, &run.run().row)
        }
        // A damaged one is passed over in training.
        Slot::Checkpoint(..) => match checkpoint::inputs_of(bytes) {
            Ok(inputs) => inputs,
            Err(_) => return Ok(None),
        },
        _ => return Ok(None),
    };
    let differences = config::differences(&begun, &packed);
    Ok((!differences.is_empty())
        .then(|| format!("{}, begun with other settings or data: {}", dir.display(), differences.join("; "))))
}
