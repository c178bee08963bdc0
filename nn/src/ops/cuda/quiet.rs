//! When devices are opened, closed and measured: not while a thread of this process records passes. Libraries that are opened
//! or closed may wait for the whole device, and a load of code may, which spoils what any thread records on it.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

static QUIET: RwLock<()> = RwLock::new(());

/// Held while a thread records.
pub(super) fn recording() -> RwLockReadGuard<'static, ()> {
    QUIET.read().unwrap_or_else(PoisonError::into_inner)
}

/// Held while nobody may record. A thread that records must not ask for it.
pub(super) fn alone() -> RwLockWriteGuard<'static, ()> {
    QUIET.write().unwrap_or_else(PoisonError::into_inner)
}
