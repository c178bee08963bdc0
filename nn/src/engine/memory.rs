//! A pool of buffers to use again, by their length. After the first training step a pass allocates only its gradients and outputs;
//! its feature maps come from here. Batches of other sizes have maps of other lengths, and share none.

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

    /// The same over memory that other `Rows` may lie in too.
    ///
    /// # Safety
    /// `start` must be valid for reads and writes of `floats` floats during `'a`, and no row may be touched while a reference to
    /// one of others that lies there lives.
    pub(crate) unsafe fn sharing(start: *mut f32, floats: usize, len: usize, first_row: usize) -> Self {
        Self { start, floats, len, first_row, lifetime: PhantomData }
    }

    fn at(&self, row: usize) -> *mut f32 {
        let offset = row.checked_sub(self.first_row).and_then(|row| row.checked_mul(self.len));
        let is_within =
            |offset: &usize| self.floats.checked_sub(*offset).is_some_and(|rest| rest >= self.len);
        let Some(offset) = offset.filter(is_within) else { panic!("row {row} is outside of the pass") };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_of_the_pass() {
        let mut values: Vec<f32> = (0..8_u8).map(f32::from).collect();
        let rows = Rows::new(&mut values, 4, 1);
        // SAFETY: nobody writes.
        let first_of = |row| unsafe { rows.get(row) }[0];
        assert_eq!([first_of(1), first_of(2)], [0.0, 4.0]);
        for row in [0, 3, usize::MAX] {
            let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| first_of(row)));
            assert!(found.is_err(), "row {row} lies outside");
        }
    }
}
