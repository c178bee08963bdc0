//! How sums over a map are cut.

use std::sync::{Mutex, PoisonError};

use super::backend::{Arena, Arg, Backend, Buffer, Element, Launch, THREADS};
use super::pointwise::{Map, Rows};
use crate::error::Result;

/// Vector columns of a block that sums, at most: a warp reads neighbouring vectors.
const COLUMNS: usize = 32;
/// Parts that a group's pixels are summed in, at most: the block that adds them up has no more threads.
const PARTS: usize = THREADS;
/// Pixels that a thread sums at least, before there are more parts.
const PIXELS_A_THREAD: usize = 8;

/// Counters of the blocks of a launch, for which those that have come last do the rest. Every launch finds them at 0 and
/// leaves them so; all launches of a network are one after the other and share them.
pub(crate) struct Counters {
    arena: Arena,
    /// Each longer than the one before it, which recordings may still name.
    all: Mutex<Vec<(usize, Buffer)>>,
}

impl Counters {
    pub(crate) fn new(arena: Arena) -> Self {
        Self { arena, all: Mutex::default() }
    }

    #[cfg(test)]
    pub(crate) fn values(&self) -> Vec<u32> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().flat_map(|(len, counters)| counters.read(*len).unwrap()).map(f32::to_bits).collect()
    }

    /// The address of at least `count` counters.
    fn at(&self, count: usize) -> Result<u64> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counters)) = all.last().filter(|(len, _)| *len >= count) {
            return Ok(counters.at());
        }
        let len = count.next_power_of_two().max(64);
        let counters = self.arena.words(&vec![0; len])?;
        let address = counters.at();
        all.push((len, counters));
        Ok(address)
    }
}

/// Partial sums of a map on the way to its norm's statistics, or to its norm's gradient (`Sums` in parts.cu). The cut depends
/// on the map's shape alone, so the sums have one order.
pub(crate) struct Parts {
    buffer: Buffer,
    counters: u64,
    channels: usize,
    count: usize,
    groups: usize,
}

impl Parts {
    pub(crate) fn new(arena: &Arena, counters: &Counters, map: &Map, rows: Rows) -> Result<Self> {
        let (channels, groups) = (map.shape.channels, rows.groups);
        let lanes = THREADS / tile(channels, 4);
        let pixels = (rows.count() / groups).max(1) * map.pixels();
        let count = (pixels / (lanes * PIXELS_A_THREAD)).clamp(1, PARTS);
        // Of each part two floats a channel, of each group two doubles.
        let buffer = arena.floats(2 * channels * (count + 2) * groups)?;
        let counters = counters.at(tiles(channels, 1) * (groups + 1))?;
        Ok(Self { buffer, counters, channels, count, groups })
    }

    /// Arguments of a kernel that sums: the sums' places, channels, and columns of a block's threads.
    pub(crate) fn args(&self, lanes: usize) -> [Arg; 4] {
        let tile = tile(self.channels, lanes);
        [Arg::At(self.buffer.at()), Arg::At(self.counters), self.channels.into(), tile.into()]
    }

    /// The same where no sums are wanted.
    pub(crate) fn no_args(&self, lanes: usize) -> [Arg; 4] {
        let [_, counters, channels, tile] = self.args(lanes);
        [Arg::At(0), counters, channels, tile]
    }

    /// Launches a kernel that sums and moves `bytes`.
    pub(crate) fn launch(
        &self,
        backend: &dyn Backend,
        kernel: &'static str,
        element: Element,
        lanes: usize,
        args: &[Arg],
        bytes: usize,
    ) -> Result<()> {
        let grid = [self.count, tiles(self.channels, lanes), self.groups];
        // SAFETY: the callers in this folder pass the kernel's own arguments; the buffer has room for every part, and there
        // is a counter for each group of each tile and for each tile.
        unsafe { backend.launch(&Launch { kernel, lanes: Some(lanes), element, grid, args, bytes }) }
    }
}

/// Columns of a block's threads, at `lanes` channels a column.
fn tile(channels: usize, lanes: usize) -> usize {
    channels.div_ceil(lanes).next_power_of_two().min(COLUMNS)
}

/// Tiles of columns.
fn tiles(channels: usize, lanes: usize) -> usize {
    (channels / lanes).div_ceil(tile(channels, lanes))
}
