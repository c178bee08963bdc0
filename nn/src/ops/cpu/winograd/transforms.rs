//! The passes around the products of [`super`], vector by vector.
//!
//! Each of the three transforms is a small matrix from both sides: once down the columns of a tile, once along its rows.

use super::{POSITIONS, Part, Winograd};
use crate::ops::cpu::BLOCK;
use crate::ops::cpu::correlate::{Extent, Grid, by_vectors};
use crate::ops::cpu::simd::{Lanes, simd_kernel};

/// B^T d.
#[inline(always)]
unsafe fn of_inputs<V: Lanes>(d: [V; 4]) -> [V; 4] {
    // SAFETY: the level's, see `Lanes`.
    unsafe { [d[0].sub(d[2]), d[1].add(d[2]), d[2].sub(d[1]), d[1].sub(d[3])] }
}

/// A^T m.
#[inline(always)]
unsafe fn of_products<V: Lanes>(m: [V; 4]) -> [V; 2] {
    // SAFETY: as above.
    unsafe { [m[0].add(m[1].add(m[2])), m[1].sub(m[2]).sub(m[3])] }
}

/// A y.
#[inline(always)]
unsafe fn of_grads<V: Lanes>(y: [V; 2]) -> [V; 4] {
    // SAFETY: as above.
    unsafe { [y[0], y[0].add(y[1]), y[0].sub(y[1]), V::splat(0.0).sub(y[1])] }
}

simd_kernel! {
    /// Writes B^T d B of the tiles of `part`, `position` floats from one position to the next.
    ///
    /// # Safety
    /// The inputs must be readable at all tiles of `part`, `to` hold 16 positions of them.
    pub(super) unsafe fn transform_inputs(
        inputs: &[*const f32], to: *mut f32, position: usize, part: Part, shape: &Winograd,
    ) = input_lanes
}

#[inline(always)]
unsafe fn input_lanes<V: Lanes>(
    inputs: &[*const f32],
    to: *mut f32,
    position: usize,
    part: Part,
    shape: &Winograd,
) {
    let row = (shape.width + 2) * BLOCK;
    for n in 0..part.count {
        let (image, y, x) = shape.tile(part.first + n);
        for block in 0..shape.blocks_in() {
            // SAFETY: the tile's 4x4 pixels lie within the bordered image.
            unsafe {
                let from = inputs[image].add(block * row * (shape.height + 2) + y * row + x * BLOCK);
                let mut lines = [[V::splat(0.0); 4]; 4];
                for c in 0..4 {
                    let at = from.add(c * BLOCK);
                    let column = of_inputs([
                        V::load(at),
                        V::load(at.add(row)),
                        V::load(at.add(2 * row)),
                        V::load(at.add(3 * row)),
                    ]);
                    for (line, value) in lines.iter_mut().zip(column) {
                        line[c] = value;
                    }
                }
                let to = to.add((block * part.count + n) * BLOCK);
                for (r, line) in lines.into_iter().enumerate() {
                    for (c, value) in of_inputs(line).into_iter().enumerate() {
                        value.store(to.add((r * 4 + c) * position));
                    }
                }
            }
        }
    }
}

simd_kernel! {
    /// Writes the sums over input channels of each position, one after the other.
    ///
    /// # Safety
    /// The buffers must hold 16 positions; those of inputs and products lie `grid.in_row` apart.
    pub(super) unsafe fn multiply(
        inputs: *const f32, weights: *const f32, products: *mut f32, weights_position: usize,
        extent: &Extent<'_>, grid: &Grid,
    ) = multiply_lanes
}

#[inline(always)]
unsafe fn multiply_lanes<V: Lanes>(
    inputs: *const f32,
    weights: *const f32,
    products: *mut f32,
    weights_position: usize,
    extent: &Extent<'_>,
    grid: &Grid,
) {
    for n in 0..POSITIONS {
        // SAFETY: the caller's buffers hold all positions.
        unsafe {
            let (inputs, weights) = (inputs.add(n * grid.in_row), weights.add(n * weights_position));
            by_vectors::<V, 1>(inputs, weights, products.add(n * grid.in_row), extent, grid);
        }
    }
}

simd_kernel! {
    /// Writes A^T m A of the tiles of `part` to their images. `spoilt` gets NaN where a value is not finite.
    ///
    /// # Safety
    /// `products` must hold 16 positions of all tiles of `part`, the outputs be writable there.
    pub(super) unsafe fn transform_outputs(
        products: *const f32, outs: &[*mut f32], position: usize, part: Part, shape: &Winograd,
        spoilt: &mut [f32; BLOCK],
    ) = output_lanes
}

#[inline(always)]
unsafe fn output_lanes<V: Lanes>(
    products: *const f32,
    outs: &[*mut f32],
    position: usize,
    part: Part,
    shape: &Winograd,
    spoilt: &mut [f32; BLOCK],
) {
    let row = shape.width * BLOCK;
    // SAFETY: the tile's 2x2 outputs lie on the image.
    unsafe {
        let zero = V::splat(0.0);
        let mut bad = V::load(spoilt.as_ptr());
        for n in 0..part.count {
            let (image, y, x) = shape.tile(part.first + n);
            for block in 0..shape.blocks_out() {
                let from = products.add((block * part.count + n) * BLOCK);
                let mut lines = [[zero; 4]; 2];
                for c in 0..4 {
                    let at = from.add(c * position);
                    let column = of_products([
                        V::load(at),
                        V::load(at.add(4 * position)),
                        V::load(at.add(8 * position)),
                        V::load(at.add(12 * position)),
                    ]);
                    for (line, value) in lines.iter_mut().zip(column) {
                        line[c] = value;
                    }
                }
                let to = outs[image].add(block * row * shape.height + y * row + x * BLOCK);
                for (r, line) in lines.into_iter().enumerate() {
                    for (c, value) in of_products(line).into_iter().enumerate() {
                        value.store(to.add(r * row + c * BLOCK));
                        bad = bad.fma(value, zero);
                    }
                }
            }
        }
        bad.store(spoilt.as_mut_ptr());
    }
}

simd_kernel! {
    /// Writes A dY A^T of the tiles of `part`, `position` floats from one position to the next.
    ///
    /// # Safety
    /// The gradients must be readable at all tiles of `part`, `to` hold 16 positions of them.
    pub(super) unsafe fn transform_grads(
        grads: &[*const f32], to: *mut f32, position: usize, part: Part, shape: &Winograd,
    ) = grad_lanes
}

#[inline(always)]
unsafe fn grad_lanes<V: Lanes>(
    grads: &[*const f32],
    to: *mut f32,
    position: usize,
    part: Part,
    shape: &Winograd,
) {
    let row = (shape.width + 2) * BLOCK;
    for n in 0..part.count {
        let (image, y, x) = shape.tile(part.first + n);
        for block in 0..shape.blocks_out() {
            // SAFETY: the tile's 2x2 pixels lie on the image.
            unsafe {
                let from = grads[image].add(block * row * (shape.height + 2) + y * row + x * BLOCK);
                let mut lines = [[V::splat(0.0); 2]; 4];
                for c in 0..2 {
                    let at = from.add(c * BLOCK);
                    for (line, value) in lines.iter_mut().zip(of_grads([V::load(at), V::load(at.add(row))])) {
                        line[c] = value;
                    }
                }
                let to = to.add((block * part.count + n) * BLOCK);
                for (r, line) in lines.into_iter().enumerate() {
                    for (c, value) in of_grads(line).into_iter().enumerate() {
                        value.store(to.add((r * 4 + c) * position));
                    }
                }
            }
        }
    }
}
