//! How sums over a map are cut.

use super::backend::{Arena, Arg, Backend, Buffer, Element, Launch, THREADS};
use super::pointwise::{Map, Rows};
use crate::error::Result;

/// Vector columns of a block that sums, at most: a warp reads neighbouring vectors.
const COLUMNS: usize = 32;
/// Vector columns of a block at least, where there are as many: 64 bytes of a pixel.
const NARROWEST: usize = 4;
/// Parts that a group's pixels are summed in, at most: the block that adds them up has no more threads.
const PARTS: usize = THREADS;
/// Pixels that a thread sums at least, before there are more parts.
const PIXELS_A_THREAD: usize = 8;

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
    pub(crate) fn new(arena: &Arena, map: &Map, rows: Rows) -> Result<Self> {
        let (channels, groups) = (map.shape.channels, rows.groups);
        let lanes = THREADS / tile(channels, 4);
        let pixels = (rows.count() / groups).max(1) * map.pixels();
        let count = (pixels / (lanes * PIXELS_A_THREAD)).clamp(1, PARTS);
        // Of each part two floats a channel, of each group two doubles.
        let buffer = arena.floats(2 * channels * (count + 2) * groups)?;
        let counters = arena.counters(tiles(channels, 1) * (groups + 1))?;
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

/// Columns of a block's threads, at `lanes` channels a column: a power of two that leaves no thread without a column, or, where
/// that is too narrow, the next one.
fn tile(channels: usize, lanes: usize) -> usize {
    let columns = channels.div_ceil(lanes);
    let whole = 1 << columns.trailing_zeros();
    if whole >= NARROWEST { whole.min(COLUMNS) } else { columns.next_power_of_two().min(COLUMNS) }
}

/// Tiles of columns.
fn tiles(channels: usize, lanes: usize) -> usize {
    (channels / lanes).div_ceil(tile(channels, lanes))
}

#[cfg(test)]
mod tests {
    use super::{tile, tiles};

    /// Columns of several channels are in no more tiles than columns of one, by which counters are reserved; and the tiles
    /// hold them all.
    #[test]
    fn every_tile_has_a_counter() {
        for channels in 1..=4096 {
            for lanes in [1, 4, 8].into_iter().filter(|lanes| channels % lanes == 0) {
                assert!(tiles(channels, lanes) <= tiles(channels, 1), "{channels} channels by {lanes}");
                assert!(
                    tiles(channels, lanes) * tile(channels, lanes) * lanes >= channels,
                    "{channels} by {lanes}"
                );
            }
        }
    }
}
