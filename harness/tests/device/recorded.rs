//! The recorded cases of the authors' code.

use std::path::{Path, PathBuf};

use harness::oracle;
use libtest_mimic::Failed;
use nn::Precision;

use crate::compare::failed;
use crate::opened;

/// The recorded cases: beside this source, or in the folder DIVKD_ORACLE where the binary was carried elsewhere.
pub(crate) fn cases() -> Vec<PathBuf> {
    let root = std::env::var_os("DIVKD_ORACLE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/oracle"), PathBuf::from);
    let mut cases: Vec<PathBuf> = std::fs::read_dir(root)
        .map(|entries| entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
        .unwrap_or_default();
    cases.sort();
    cases
}

/// Every number within the case's tolerance, or below f32 within what that rounds away.
pub(crate) fn oracle_case(case: &Path, precision: Precision) -> Result<(), Failed> {
    let outcome = oracle::run(case, &opened()?, precision).map_err(failed)?.remove(0);
    match &outcome.result {
        Ok(worst) if worst.within() => Ok(()),
        Ok(worst) => {
            Err(format!("{}: {:.2e}, allowed {:.0e}", worst.what, worst.error, worst.tolerance).into())
        }
        Err(reason) => Err(reason.clone().into()),
    }
}
