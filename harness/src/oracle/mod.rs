//! Agreement with the official implementation: runs recorded input/output cases through this program's own code.
//!
//! A case is a folder with `case.json` (kind, settings, expected scalars, tolerance) and `tensors.safetensors` (`in.*`,
//! network state under official names, expected `out.*`). Every expected number must be reproduced within the case's
//! tolerance; whatever cannot be checked (an unknown kind, a missing tensor, an expected tensor that nobody looked at)
//! is a failure.

mod case;
mod layer;
mod network;
mod rounded;
mod scores;
mod training;

use std::path::Path;

use candle_core::Device;
use nn::Precision;

use case::Case;
pub use case::Worst;

/// How one case went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The case's folder.
    pub name: String,
    /// Its kind, as far as it could be read.
    pub kind: String,
    /// The comparison that used up most of its tolerance; or why there is none.
    pub result: Result<Worst, String>,
}

impl Outcome {
    /// Whether every number agreed.
    pub fn passed(&self) -> bool {
        self.result.as_ref().is_ok_and(Worst::within)
    }
}

/// Runs every case folder under `root`, in the order of their names; `root` may be a single case. Below f32 numbers may be
/// off by what that rounds away (the module `rounded`).
///
/// # Errors
/// Where the folder cannot be read or holds no case.
pub fn run(root: &Path, device: &Device, precision: Precision) -> anyhow::Result<Vec<Outcome>> {
    let mut folders = Vec::new();
    if root.join("case.json").is_file() {
        folders.push(root.to_owned());
    } else {
        let entries = std::fs::read_dir(root).map_err(|e| anyhow::anyhow!("{}: {e}", root.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| anyhow::anyhow!("{}: {e}", root.display()))?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    folders.sort();
    anyhow::ensure!(!folders.is_empty(), "{}: there is no case in this folder", root.display());
    Ok(folders.iter().map(|folder| run_case(folder, device, precision)).collect())
}

fn run_case(folder: &Path, device: &Device, precision: Precision) -> Outcome {
    let name = folder.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let mut case = match Case::read(folder, precision) {
        Ok(case) => case,
        Err(error) => return Outcome { name, kind: "?".to_owned(), result: Err(format!("{error:#}")) },
    };
    let kind = case.kind().to_owned();
    let checked = match kind.as_str() {
        "metrics" => scores::check(&mut case),
        "be_conv2d" | "be_linear" => layer::check(&mut case, device),
        "network" => network::check_network(&mut case, device),
        "perturb" => network::check_perturbation(&mut case, device),
        "checkpoint" => network::check_checkpoint(&mut case, device),
        "train" => training::check(&mut case, device),
        "lr_schedule" => scores::check_schedule(&mut case),
        other => Err(anyhow::anyhow!("unknown kind `{other}`")),
    };
    let result = checked.and_then(|()| case.finish()).map_err(|error| format!("{error:#}"));
    Outcome { name, kind, result }
}
