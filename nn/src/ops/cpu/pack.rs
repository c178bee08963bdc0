//! Weights on their way into the kernels: every member's own, W o (s r^T) where the layer is a BatchEnsemble's, in the order of
//! the direct loops or transformed for Winograd's form.

use super::convolution::Fast;
use super::simd::{Lanes, simd_kernel};
use super::{BLOCK, blocks};

/// The weights of a sum over input channels. For the gradient by input the layer's inputs and outputs have changed places.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    /// (O, I, k, k).
    pub weight: &'a [f32],
    /// Channels of the sum's outputs and inputs.
    pub channels: (usize, usize),
    /// Floats of `weight` from one output, and from one input, to the next.
    pub steps: (usize, usize),
    /// M.
    pub members: usize,
    /// Each member's factors of the outputs and of the inputs.
    pub fast: Fast<'a>,
}

impl Source<'_> {
    /// With inputs and outputs in each other's place.
    pub(super) fn transposed(self) -> Self {
        let swap = |(a, b): (usize, usize)| (b, a);
        let fast = self.fast.map(|(outs, ins)| (ins, outs));
        Self { channels: swap(self.channels), steps: swap(self.steps), fast, ..self }
    }

    /// Outputs of a block that have a channel.
    #[inline(always)]
    fn outputs(&self, block: usize) -> usize {
        BLOCK.min(self.channels.0 - block * BLOCK)
    }

    /// Writes the weights of `taps` between the outputs of `block` and an `input`, zeros where there is no channel.
    #[inline(always)]
    fn read(&self, block: usize, input: usize, taps: &[usize], to: &mut [[f32; BLOCK]]) {
        to.fill([0.0; BLOCK]);
        if input >= self.channels.1 {
            return;
        }
        for lane in 0..self.outputs(block) {
            let own = &self.weight[(block * BLOCK + lane) * self.steps.0 + input * self.steps.1..];
            for (to, tap) in to.iter_mut().zip(taps) {
                to[lane] = own[*tap];
            }
        }
    }

    /// What `member` multiplies them with, zeros where there is no channel.
    #[inline(always)]
    fn scale(&self, block: usize, input: usize, member: usize) -> [f32; BLOCK] {
        let mut scale = [0.0; BLOCK];
        let (Some((outs, ins)), true) = (self.fast, input < self.channels.1) else { return scale };
        let outs = &outs[member * self.channels.0 + block * BLOCK..][..self.outputs(block)];
        let factor = ins[member * self.channels.1 + input];
        for (scale, out) in scale.iter_mut().zip(outs) {
            *scale = out * factor;
        }
        scale
    }
}

simd_kernel! {
    /// Writes (out block, in block, tap, 16 in, 16 out) for each member, `len` floats from one to the next.
    ///
    /// # Safety
    /// None beyond the level's.
    pub(super) unsafe fn pack(source: Source<'_>, taps: &[usize], len: usize, to: &mut [f32]) = pack_lanes
}

#[inline(always)]
unsafe fn pack_lanes<V: Lanes>(source: Source<'_>, taps: &[usize], len: usize, to: &mut [f32]) {
    let in_blocks = blocks(source.channels.1);
    let mut lanes = vec![[0.0; BLOCK]; taps.len()];
    for block in 0..blocks(source.channels.0) {
        for input in 0..in_blocks * BLOCK {
            source.read(block, input, taps, &mut lanes);
            let place = ((block * in_blocks + input / BLOCK) * taps.len() * BLOCK + input % BLOCK) * BLOCK;
            for member in 0..source.members {
                let scale = source.scale(block, input, member);
                for (k, lanes) in lanes.iter().enumerate() {
                    let to = &mut to[member * len + place + k * BLOCK * BLOCK..][..BLOCK];
                    // SAFETY: sixteen floats each.
                    unsafe { scaled::<V>(lanes, &scale, source.fast.is_some()).store(to.as_mut_ptr()) };
                }
            }
        }
    }
}

simd_kernel! {
    /// Writes G g G^T of the nine `taps` g, row-major, for each member, `len` floats from one to the next: (16 positions, out block,
    /// input, 16 out), `position` floats from one position to the next.
    ///
    /// # Safety
    /// None beyond the level's.
    pub(super) unsafe fn transform(
        source: Source<'_>, taps: &[usize; 9], position: usize, len: usize, to: &mut [f32],
    ) = transform_lanes
}

#[inline(always)]
unsafe fn transform_lanes<V: Lanes>(
    source: Source<'_>,
    taps: &[usize; 9],
    position: usize,
    len: usize,
    to: &mut [f32],
) {
    let in_blocks = blocks(source.channels.1);
    let mut lanes = [[0.0; BLOCK]; 9];
    for block in 0..blocks(source.channels.0) {
        for input in 0..in_blocks * BLOCK {
            source.read(block, input, taps, &mut lanes);
            for member in 0..source.members {
                let scale = source.scale(block, input, member);
                let to = &mut to[member * len + (block * in_blocks * BLOCK + input) * BLOCK..];
                assert!(to.len() >= 15 * position + BLOCK);
                // SAFETY: sixteen floats each, also at 16 positions.
                unsafe {
                    let mut g = [V::splat(0.0); 9];
                    for (g, lanes) in g.iter_mut().zip(&lanes) {
                        *g = scaled(lanes, &scale, source.fast.is_some());
                    }
                    let mut lines = [[V::splat(0.0); 3]; 4];
                    for c in 0..3 {
                        for (line, value) in lines.iter_mut().zip(of_weights([g[c], g[3 + c], g[6 + c]])) {
                            line[c] = value;
                        }
                    }
                    for (r, line) in lines.into_iter().enumerate() {
                        for (c, value) in of_weights(line).into_iter().enumerate() {
                            value.store(to.as_mut_ptr().add((r * 4 + c) * position));
                        }
                    }
                }
            }
        }
    }
}

/// # Safety
/// The level's, see [`Lanes`].
#[inline(always)]
unsafe fn scaled<V: Lanes>(lanes: &[f32; BLOCK], scale: &[f32; BLOCK], is_fast: bool) -> V {
    // SAFETY: sixteen floats each.
    unsafe {
        let lanes = V::load(lanes.as_ptr());
        if is_fast { lanes.mul(V::load(scale.as_ptr())) } else { lanes }
    }
}

/// G g.
#[inline(always)]
unsafe fn of_weights<V: Lanes>(g: [V; 3]) -> [V; 4] {
    // SAFETY: the level's, see `Lanes`.
    unsafe {
        let (ends, half) = (g[0].add(g[2]), V::splat(0.5));
        [g[0], ends.add(g[1]).mul(half), ends.sub(g[1]).mul(half), g[2]]
    }
}
