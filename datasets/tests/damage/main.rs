//! Damaged and hostile files: an answer or an error, and memory within bounds. A binary of its own, for its allocator counts
//! what the whole process takes.

#[path = "../it/support/files.rs"]
mod files;
mod fuzz;
mod headers;

use std::sync::{Mutex, MutexGuard, PoisonError};

use peak_alloc::PeakAlloc;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Keeps the other tests of this binary out of the count, as long as it is held.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What `work` gives, and the most bytes that it had allocated at one time beyond those that were there before.
fn measured<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let result = work();
    (result, MEMORY.peak_usage().saturating_sub(before))
}
