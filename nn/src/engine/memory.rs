//! Buffers that are used again: a training step allocates nothing once the first one is over.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers that wait for their next use, by length.
#[derive(Clone, Default)]
pub(crate) struct Arena(Arc<Mutex<BTreeMap<usize, Vec<Vec<f32>>>>>);

impl Arena {
    /// A buffer of `len` floats with whatever is in it.
    pub(crate) fn take(&self, len: usize) -> Buffer {
        let mut free = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let values = free.get_mut(&len).and_then(Vec::pop);
        drop(free);
        Buffer { values: values.unwrap_or_else(|| vec![0.0; len]), arena: self.clone() }
    }

    /// A buffer of `len` zeros.
    pub(crate) fn zeros(&self, len: usize) -> Buffer {
        let mut buffer = self.take(len);
        buffer.values.fill(0.0);
        buffer
    }
}

/// A buffer on loan: it goes back when dropped.
pub(crate) struct Buffer {
    values: Vec<f32>,
    arena: Arena,
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        let mut free = self.arena.0.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(values.len()).or_default().push(values);
    }
}

/// One record of `len` floats a row, rows `first_row` .. of a pass, written by several threads.
///
/// A row belongs to one task at a time: tasks are cut by rows, and a segment ends before another task may read it.
pub(crate) struct Rows<'a> {
    start: *mut f32,
    floats: usize,
    len: usize,
    first_row: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: see the type: two tasks never touch the same row at once.
unsafe impl Sync for Rows<'_> {}
// SAFETY: as above; the pointer is to plain floats.
unsafe impl Send for Rows<'_> {}

impl<'a> Rows<'a> {
    pub(crate) fn new(values: &'a mut [f32], len: usize, first_row: usize) -> Self {
        Self { start: values.as_mut_ptr(), floats: values.len(), len, first_row, lifetime: PhantomData }
    }

    fn at(&self, row: usize) -> *mut f32 {
        let offset = (row - self.first_row) * self.len;
        assert!(offset + self.len <= self.floats, "row {row} is outside of the pass");
        // SAFETY: just checked.
        unsafe { self.start.add(offset) }
    }

    /// # Safety
    /// No task may write this row meanwhile.
    pub(crate) unsafe fn get(&self, row: usize) -> &[f32] {
        // SAFETY: `at` checked the bounds, the caller the sharing.
        unsafe { std::slice::from_raw_parts(self.at(row), self.len) }
    }

    /// # Safety
    /// No other reference to this row may live meanwhile.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn get_mut(&self, row: usize) -> &mut [f32] {
        // SAFETY: `at` checked the bounds, the caller the sharing.
        unsafe { std::slice::from_raw_parts_mut(self.at(row), self.len) }
    }

    /// # Safety
    /// As for [`Self::get_mut`], for each of `rows`.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn get_all_mut(&self, rows: Range<usize>) -> Vec<&mut [f32]> {
        // SAFETY: the caller's.
        rows.map(|row| unsafe { self.get_mut(row) }).collect()
    }
}
