//! The class of a machine: what decides how its floating-point numbers round.

use nn::ops::cpu::simd::Level;

/// Architecture, operating system and instruction set of the kernels, such as `x86_64-linux avx512`.
///
/// Machines of one class compute the same bits, and so do all whose kernels round a multiply-add once, which are those with
/// AVX2, AVX-512 and aarch64: sums have one order, and exponentials, logarithms and cosines are not the system's.
pub fn class() -> String {
    let level = match Level::detect() {
        Level::Portable => "portable",
        Level::Avx2 => "avx2",
        Level::Avx512 => "avx512",
    };
    format!("{}-{} {level}", std::env::consts::ARCH, std::env::consts::OS)
}
