//! The machine's multiply-add rate, to hold the operators against.

use std::hint::black_box;
use std::time::Instant;

use super::simd::{Lanes, Level, simd_kernel};

/// Independent accumulators: enough to hide the latency of two multiply-adds a cycle.
const ACCUMULATORS: usize = 16;
const ROUNDS: usize = 1_000_000;

simd_kernel! {
    /// `ROUNDS` multiply-adds of each accumulator.
    ///
    /// # Safety
    /// `out` must hold sixteen floats.
    unsafe fn multiply_adds(out: &mut [f32; 16], factor: f32) = multiply_adds_lanes
}

#[inline(always)]
unsafe fn multiply_adds_lanes<V: Lanes>(out: &mut [f32; 16], factor: f32) {
    // SAFETY: `out` has the lanes.
    unsafe {
        let (a, b) = (V::splat(factor), V::splat(1.0 - factor));
        // Different values: equal sums would be computed once.
        let mut acc: [V; ACCUMULATORS] = std::array::from_fn(|i| V::splat(black_box(i as f32)));
        for _ in 0..ROUNDS {
            for sum in &mut acc {
                *sum = b.fma(*sum, a);
            }
        }
        for sum in acc {
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
            // SAFETY: an array of sixteen floats.
            unsafe { multiply_adds(level, &mut out, black_box(0.999)) }
            black_box(out);
        });
        start.elapsed().as_secs_f64()
    };
    let best = (0..16).map(|_| run()).fold(f64::INFINITY, f64::min);
    (threads * ACCUMULATORS * ROUNDS * 16 * 2) as f64 / best / 1e9
}
