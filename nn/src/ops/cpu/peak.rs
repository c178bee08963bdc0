//! The machine's multiply-add rate, to hold the operators against.

use std::hint::black_box;
use std::time::Instant;

use super::BLOCK;
use super::simd::{Lanes, Level, simd_kernel};

/// Multiply-adds of vectors in one run: some 20 ms of them.
const VECTORS: usize = 16_000_000;

simd_kernel! {
    /// [`VECTORS`] multiply-adds, over as many independent sums as the registers hold.
    ///
    /// # Safety
    /// `out` must hold sixteen floats.
    unsafe fn multiply_adds(out: &mut [f32; 16], factor: f32) = multiply_adds_lanes
}

#[inline(always)]
unsafe fn multiply_adds_lanes<V: Lanes>(out: &mut [f32; 16], factor: f32) {
    // SAFETY: forwarded.
    unsafe {
        if V::SUMS >= 16 {
            into_sums::<V, 16>(out, factor);
        } else if V::SUMS >= 6 {
            into_sums::<V, 6>(out, factor);
        } else {
            into_sums::<V, 3>(out, factor);
        }
    }
}

#[inline(always)]
unsafe fn into_sums<V: Lanes, const SUMS: usize>(out: &mut [f32; 16], factor: f32) {
    // SAFETY: `out` has the lanes.
    unsafe {
        let factor = V::splat(factor);
        // Different values: equal sums would be computed once.
        let mut sums: [V; SUMS] = std::array::from_fn(|i| V::splat(black_box(i as f32)));
        for _ in 0..VECTORS / SUMS {
            for sum in &mut sums {
                *sum = sum.fma(*sum, factor);
            }
        }
        for sum in sums {
            sum.add(V::load(out.as_ptr())).store(out.as_mut_ptr());
        }
    }
}

/// f32 operations a second, in 10^9, that every thread of the rayon pool together reaches on registers alone (a
/// multiply-add is two). The best of sixteen runs of some 20 ms: a core that was asleep or lent out spoils a few.
pub fn peak_gflops() -> f64 {
    let level = Level::detect();
    let threads = rayon::current_num_threads();
    let run = || {
        let start = Instant::now();
        rayon::broadcast(|_| {
            let mut out = [black_box(1.0_f32); 16];
            // Too small a factor to change a sum: none vanishes or grows without end.
            // SAFETY: an array of sixteen floats.
            unsafe { multiply_adds(level, &mut out, black_box(1e-9)) }
            black_box(out);
        });
        start.elapsed().as_secs_f64()
    };
    let best = (0..16).map(|_| run()).fold(f64::INFINITY, f64::min);
    (threads * VECTORS * BLOCK * 2) as f64 / best / 1e9
}
